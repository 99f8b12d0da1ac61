"""The defences of the SLURM gateway, which are removed on its submission host."""

from tests.e2e.defences.defence import Defence, tests
from tests.e2e.defences.host import HostEdits
from tests.e2e.defences.removal import Edit
from tests.e2e.defences.runs import ASSERTION
from tests.e2e.machines import SETTINGS

SERVER, PROXY, LAUNCHER = "dask-gateway.service", "dask-gateway-proxy.service", "dask-gateway-launcher.socket"
TEMPLATES = "ansible/roles/gateway/templates"

ON_SLURM = [
    Defence(
        "R1",
        "squeue prints the comments of jobs beside their states",
        HostEdits(
            Edit("gateway/slurm/jobs.py", 'FORMAT = "%i|%T|%U"', 'FORMAT = "%i|%T|%U|%k"'),
            Edit(
                "gateway/slurm/jobs.py",
                r'(?P<state>[A-Z_]{1,32})\|(?P<uid>[0-9]{1,10})", re.ASCII)',
                r'(?P<state>[A-Z_]{1,32})\|(?P<uid>[0-9]{1,10})(\|.*)?", re.ASCII)',
            ),
            # The rows of the attacker's later jobs come after those of the victim's.
            Edit("gateway/slurm/queries.py", 'f"--format={jobs.FORMAT}")', 'f"--format={jobs.FORMAT}", "--sort=i")'),
            restart=(SERVER,),
        ),
        tests("queue", "test_forged_jobs_harm_no_other_user[slurm]"),
        # The victim's cluster ends before or after the test has looked at its jobs.
        rf"{ASSERTION}|tests.e2e.notebooks.CellError: ",
    ),
    Defence(
        "R1",
        "the launcher cancels any job of the user",
        HostEdits(
            Edit(
                "gateway/slurm/launcher/actions.py",
                "own = {array for array in arrays if slurm.belongs(limits.squeue, array, user.uid, folder)}",
                "own = set(arrays)",
            )
        ),
        tests("launcher", "test_a_job_of_the_user_that_is_not_the_clusters_is_not_cancelled[slurm]"),
    ),
    Defence(
        "R2",
        "the launcher runs the interpreter of the user's environment on the submission host",
        HostEdits(
            Edit(
                "gateway/slurm/launcher/actions.py",
                '    folders.make(user, request["cluster"], files)\n',
                '    folders.make(user, request["cluster"], files)\n'
                "    import json, shlex\n"
                '    words = shlex.split(request["job"]["script"].partition("exec ")[2])\n'
                '    prefix = json.loads(words[words.index("start") + 1])["prefix"]\n'
                '    subprocess.run([prefix + "/bin/python", "-c", ""], check=False, capture_output=True)\n',
            )
        ),
        tests("launcher", "test_an_environments_interpreter_runs_on_nodes_alone[slurm]"),
    ),
    Defence(
        "R2",
        "every account of the submission host opens the launcher's socket",
        HostEdits(
            Edit(
                f"{TEMPLATES}/dask-gateway-launcher.socket.j2",
                "SocketMode=0600",
                "SocketMode=0666",
                "/etc/systemd/system/dask-gateway-launcher.socket",
            ),
            restart=(LAUNCHER,),
        ),
        tests(
            "launcher",
            "test_users_on_the_submission_host_do_not_reach_the_launcher[alice-slurm]",
            "test_users_on_the_submission_host_do_not_reach_the_launcher[bob-slurm]",
        ),
    ),
    Defence(
        "R3",
        "the SLURM gateway believes the addresses in a heartbeat",
        HostEdits(
            Edit(
                "gateway/slurm/backend.py",
                "return await placement.placed(cluster, heartbeat, self.status_command, self.site.slurm)",
                "return heartbeat",
            ),
            restart=(SERVER,),
        ),
        tests("addresses", "test_a_first_heartbeat_tells_no_address[slurm]"),
    ),
    Defence(
        "R4b",
        "the SLURM gateway believes the addresses in a heartbeat, and routes to its own machine",
        HostEdits(
            Edit(
                "gateway/slurm/backend.py",
                "return await placement.placed(cluster, heartbeat, self.status_command, self.site.slurm)",
                "return heartbeat",
            ),
            Edit("gateway/slurm/proxy/addresses.py", "if not LEAST_PORT <= port <= MOST_PORT:", "if False:"),
            Edit(
                "gateway/slurm/proxy/addresses.py",
                'if host in own_hosts or host.partition(".")[0] == "localhost" or not _is_of_another_host(host):',
                "if False:",
            ),
            restart=(SERVER,),
        ),
        tests("addresses", "test_a_first_heartbeat_tells_no_address[slurm]"),
    ),
    Defence(
        "R4c",
        "the SLURM gateway takes heartbeats of any types and lengths",
        HostEdits(
            Edit("gateway/service/backend.py", "heartbeat = heartbeats.checked(msg)", "heartbeat = dict(msg)"),
            restart=(SERVER,),
        ),
        tests("addresses", "test_a_first_heartbeat_tells_no_address[slurm]"),
    ),
    Defence(
        "R4d",
        "the SLURM gateway has a higher bound on workers than the site",
        HostEdits(
            Edit(
                "sites/testbed.yaml",
                "maximum_workers: {per_cluster: 450, per_user: 500}",
                "maximum_workers: {per_cluster: 600, per_user: 700}",
                "/etc/dask-gateway/site.yaml",
            ),
            restart=(SERVER,),
        ),
        tests("queue", "test_a_cluster_gets_a_bounded_number_of_jobs[slurm]"),
    ),
    Defence(
        "R4e",
        "texts of users' interpreters reach the SLURM gateway in their full length",
        HostEdits(
            Edit("gateway/as_user/preflight.py", '["it printed nothing"])[-1][:300]', '["it printed nothing"])[-1]'),
            Edit("gateway/as_user/refusals.py", "MOST_CHARACTERS = 4096", "MOST_CHARACTERS = 10**9"),
            restart=(SERVER,),
        ),
        tests("lengths", "test_what_an_interpreter_prints_is_bounded_and_cleaned[slurm]"),
    ),
    Defence(
        "R4f",
        "the SLURM gateway takes paths of any length",
        HostEdits(
            Edit("gateway/request/environments.py", "if length >= PATH_MAX:", "if False:"),
            Edit("gateway/request/environments.py", "if longest > NAME_MAX:", "if False:"),
            restart=(SERVER,),
        ),
        tests("lengths", "test_a_path_that_linux_does_not_allow_is_not_stored[slurm]"),
    ),
    Defence(
        "R4g",
        "the SLURM gateway takes any number of reports in a second",
        HostEdits(Edit("gateway/service/scheduler_reports.py", "BURST = 8", "BURST = 10**9"), restart=(SERVER,)),
        tests("addresses", "test_reports_without_distance_are_refused[slurm]"),
    ),
    Defence(
        "R4h",
        "the SLURM gateway's proxy keeps half-open connections",
        HostEdits(
            Edit(
                f"{TEMPLATES}/traefik.yml.j2",
                "        readTimeout: ",
                "        readTimeout: 0s # ",
                f"{SETTINGS.slurm.proxy_directory}/traefik.yml",
            ),
            restart=(PROXY,),
        ),
        tests("front", "test_half_open_connections_are_closed[slurm]"),
        # The client waits in vain for the end of its connection.
        "TimeoutError: timed out",
    ),
    Defence(
        "R4h",
        "the SLURM gateway's proxy takes any number of connections from one source",
        HostEdits(
            Edit(
                "gateway/slurm/proxy/configuration.py",
                '{"inFlightConn": {"amount": MOST_CONNECTIONS}}',
                '{"inFlightConn": {"amount": 10**6}}',
            ),
            restart=(SERVER,),
        ),
        tests("front", "test_one_source_can_not_hold_all_connections_to_a_scheduler[slurm]"),
    ),
    Defence(
        "R5",
        "the SLURM gateway's proxy asks for no login before a dashboard",
        HostEdits(
            Edit(
                "gateway/slurm/proxy/configuration.py",
                "return [BOUND, DASHBOARD_LOGIN, DASHBOARD_HEADERS.format(name), CLUSTER_PATH]",
                "return [BOUND, DASHBOARD_HEADERS.format(name), CLUSTER_PATH]",
            ),
            restart=(SERVER,),
        ),
        tests(
            "dashboards",
            "test_without_a_login_a_program_is_refused[slurm]",
            "test_headers_of_a_proxy_do_not_open_it[slurm]",
        ),
    ),
    Defence(
        "R5",
        "a scheduler's dashboard answers everybody who reaches its node",
        HostEdits(
            Edit(
                "gateway/as_user/dashboard_guard.py",
                'if is_same(request.headers.get(HEADER, ""), secret):',
                "if True:",
            )
        ),
        tests("dashboards", "test_a_scheduler_answers_nobody_but_the_proxy[slurm]"),
    ),
    Defence(
        "R10",
        "the SLURM gateway writes no audit lines",
        HostEdits(
            Edit("gateway/service/middleware.py", "action = audit.action_of(request)", "action = None"),
            restart=(SERVER,),
        ),
        tests("identity", "test_each_change_of_a_cluster_has_an_audit_line[slurm]"),
        "TimeoutError: not within .*: all lines are written",
    ),
]
