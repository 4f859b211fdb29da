/**
 * Names and contracts of the shell programs that Landfall runs on machines. The texts lie beside the SSH adapter; the sandbox's
 * simulated machines emulate them by name. Output is `key=value` lines unless said otherwise.
 */

export const PROGRAMS = {
  /** → os, uptime_s, clock_s, memory_mb, disk_free_mb, docker (version|none), swarm (active|inactive), swarm_node (its id in it, or nothing),
   *    swarm_peers (whom the guard in force lets in to the swarm's ports, with spaces), worker (absent|installing|failed|installed: whether it
   *    was made ready to join a swarm), cloud_init (done|running|error|none), cloud_init_error (base64, where it failed), dokploy
   *    (absent|installing|failed|installed), dokploy_login (present|absent), system (stock|installer|nixos), install_phase (none|disko|install: the last that the installer of NixOS has finished), installed_by
   *    (run that installed NixOS, or nothing), panel_port (unguarded|open|closed: what the machine itself does about port 3000), ssh_client
   *    (the caller's address as the server sees it) */
  facts: { timeoutMs: 20_000 },
  /** PRIVATE, PUBLIC → replaces every SSH host key by this pair, reloads sshd, prints `ok=1`. Safe to repeat. */
  'rotate-host-key': { timeoutMs: 30_000 },
  /** PHASE (disko|install) → remembered by the installer of NixOS until it ends, prints `ok=1`; exit 3 outside the installer */
  'mark-install': { timeoutMs: 20_000 },
  /** → `acme <base64>`: Traefik's certificates with their keys; exit 4 when there are none */
  'read-certificates': { timeoutMs: 20_000 },
  /** ACME → put in place of what Traefik has, which starts again; prints `ok=1` */
  'write-certificates': { timeoutMs: 60_000 },
  /** → settings (hash of the written ones, or nothing), unit (active|activating|failed|inactive), health (healthy|unhealthy), caddy (as unit),
   *    revision, origin (the repository whose code is in force), previous (the one before the last update), back (where a rollback leads, which
   *    it still says when it has led there), remote (head of the branch, or nothing), content (what the system was built from), system (its name
   *    there, or nothing) */
  'service-facts': { timeoutMs: 30_000 },
  /** SETTINGS, VARIABLES (lines NAME="value"; the latter for the service alone), HASH → root-only files, replaced atomically; the service and Caddy start again; prints `ok=1` */
  'write-service-settings': { timeoutMs: 60_000 },
  /** REVISION (empty: head of BRANCH), BRANCH, PORT, HEALTH, BACK (yes: a rollback, remembered until another revision is in force) → starts the update's unit or attaches to it; prints `unit=started|running` */
  'start-service-update': { timeoutMs: 30_000 },
  /** ARCHIVE (base64 of a .tar.gz with flake.nix), SYSTEM, CONTENT → the same for the whole system */
  'start-system-update': { timeoutMs: 60_000 },
  /** KIND (service|system) → unit (absent|running|done|failed), stage, result (none|updated|unchanged|returned|unhealthy|failed), the last
   *    log lines as `log <base64>` lines */
  'watch-update': { timeoutMs: 20_000 },
  /** LINES, CURSOR (empty: the last LINES) → `cursor=…` for the next call, then `log <base64>` lines, newest last */
  'service-logs': { timeoutMs: 30_000 },
  /** → EMAIL, PASSWORD, API_KEY as `NAME <base64>` lines; exit 4 when nothing is kept yet. API_KEY may be missing. */
  'read-dokploy-login': { timeoutMs: 20_000 },
  /** EMAIL, PASSWORD, API_KEY (each optional, kept when absent) → root-only file, replaced atomically, prints `ok=1` */
  'write-dokploy-login': { timeoutMs: 20_000 },
  /** VERSION, ADVERTISE_ADDR, POOL → starts the install unit, or attaches to it when it exists; prints `unit=started|running|done` */
  'start-dokploy-install': { timeoutMs: 30_000 },
  /** → unit (absent|running|done|failed|stopping: with the whole server), stage, and on failure the last log lines as `log <base64>` lines */
  'watch-dokploy-install': { timeoutMs: 20_000 },
  /** STATE (open|closed) → the machine's own guard shuts the panel's port to its networks, or leaves it to the cloud firewall; prints `ok=1` */
  'set-panel-port': { timeoutMs: 30_000 },
  /** POOL → as `start-dokploy-install`, for a server that is to join a swarm */
  'start-worker-install': { timeoutMs: 30_000 },
  /** → as `watch-dokploy-install` */
  'watch-worker-install': { timeoutMs: 20_000 },
  /** PEERS (addresses with spaces) → the machine's own guard lets them, on its private networks, in to the swarm's ports; prints `ok=1` */
  'set-swarm-peers': { timeoutMs: 30_000 },
  /** → address (that the swarm is reached at), and for each node a line
   *    `node <id> <hostname> <ready|down|…> <active|drain|pause> <worker|manager> <leaving|staying> <tasks>`; exit 4 when it manages no swarm */
  'swarm-nodes': { timeoutMs: 60_000 },
  /** → `TOKEN <base64>`, with which workers join */
  'read-swarm-token': { timeoutMs: 30_000 },
  /** TOKEN, MANAGER, ADVERTISE_ADDR, LEAVE (yes: another swarm first) → it is in the swarm as a worker, prints `ok=1`. Safe to repeat. */
  'join-swarm': { timeoutMs: 3 * 60_000 },
  /** → it is in no swarm, prints `ok=1` */
  'leave-swarm': { timeoutMs: 90_000 },
  /** NODE, STATE (drain: no task any more, because it leaves; active; gone) → prints `ok=1`; on the manager */
  'set-swarm-node': { timeoutMs: 60_000 },
  /** → one line per container/service of the platform: `service <name> <replicas> <image>`, on a worker of a swarm
   *    `task <service> <state> <image>`; and `cloud_init_error <base64>` where it failed */
  inspect: { timeoutMs: 20_000 },
  /** APP → the app's releases, newest last, each a line of base64; exit 4 when there is none yet */
  'read-app-history': { timeoutMs: 20_000 },
  /** APP, ENTRY → root-only file, replaced atomically, at most 20 entries, prints `ok=1` */
  'append-app-history': { timeoutMs: 20_000 },
  /** IMAGE (a name or sha256:…) → prints image (present|absent) and digests: the references under which registries have it, with spaces between */
  'read-app-image': { timeoutMs: 20_000 },
  /** ACTION (keep|restore), APP_NAME, IMAGE (sha256:…) → tags the image so that it stays, or is what APP_NAME:latest means again;
   *    prints image (present|absent) */
  'app-image': { timeoutMs: 60_000 },
  /** TASK (its id in the swarm), LINES → the end of what its container wrote, as it is */
  'task-log': { timeoutMs: 30_000 },
  /** KIND, IMAGE, BUCKET, KEY, BYTES, ENDPOINT, REGION, PROVIDER, ACCESS_KEY, SECRET_KEY → reads a backup and restores it into a
   *    throw-away container; prints bytes, items (tables, collections or files), for a panel key (present|absent), and `ok=1` */
  'drill-backup': { timeoutMs: 30 * 60_000 },
  /** → docker (ready|absent), walls (ranges that containers do not reach, now and after a reboot), caddyfile (sha256|none), certificate (base64 of PEM), and a line
   *    `preview <number> <head> <generation> <up|down|failed|partial> <since, s> <why, base64>` for each */
  'preview-look': { timeoutMs: 60_000 },
  /** RANGE (optional) → containers reach neither the metadata service nor RANGE; then Docker, Compose and git are there; prints `ok=1` */
  'preview-host': { timeoutMs: 10 * 60_000 },
  /** NUMBER, HEAD, GENERATION, REPOSITORY, COMPOSE_FILE, TOKEN (optional) → the commit is in the preview's folder; prints checkout, file (base64|absent|large) */
  'preview-fetch': { timeoutMs: 5 * 60_000 },
  /** NUMBER, HEAD, GENERATION and COMPOSE, BUILD_PATHS, SERVICES, SERVICE, PORT, VARIABLES, LIMIT, or WHY it cannot be → prints state (up|failed) */
  'preview-up': { timeoutMs: 20 * 60_000 },
  /** NUMBER → nothing of it is left; prints `ok=1` */
  'preview-down': { timeoutMs: 3 * 60_000 },
  /** CERTIFICATE, KEY, CADDYFILE, IMAGE (all optional) → kept, and served; prints `ok=1` */
  'preview-edge': { timeoutMs: 5 * 60_000 },
  /** NUMBER → the last lines of its deploy and of its containers */
  'preview-logs': { timeoutMs: 30_000 },
  /** → addresses (ip@interface, with commas), leaving (yes|no: visitors are asked to go elsewhere), and for each of consul, nomad, caddy: <part>_version (none when absent), <part>_state (systemd's
   *    word), <part>_files (SHA-256 of configuration and unit; none; untaken: what is there is not
   *    what it runs with, as far as is known), <part>_certificate (base64 of PEM, or empty) */
  'cluster-facts': { timeoutMs: 20_000 },
  /** → `SECRETS <base64>`; exit 4 when there are none */
  'read-cluster-secrets': { timeoutMs: 20_000 },
  /** SECRETS → root-only file, prints `ok=1`; exit 5 when others are kept there */
  'write-cluster-secrets': { timeoutMs: 20_000 },
  /** PART (consul|nomad|caddy), CONFIG, UNIT, VERSION, URL, SHA256 (empty: no matter), CA, CERT, KEY, JOIN, LOGINS (optional), BLIND_S (seconds in which
   *    visitors still come, 0: no matter) → installs, writes and (re)starts what differs, after the visitors have gone elsewhere; prints changed
   *    (words with spaces between). Exit 6 when the program cannot be had. Only with PART=caddy the visitors come back by it. */
  'set-cluster-part': { timeoutMs: 10 * 60_000 },
  /** PART → what set-cluster-part put in place counts as taken from now on; prints `ok=1` */
  'confirm-cluster-part': { timeoutMs: 20_000 },
  /** VISITORS (come|leave), BLIND_S → `leave`: they are sent elsewhere, and Caddy has ended with the last of them; prints `ok=1` */
  'set-cluster-visitors': { timeoutMs: 3 * 60_000 },
  /** PART (consul|nomad|caddy|docker), LINES → the end of its journal, as it is */
  'cluster-log': { timeoutMs: 20_000 },
} satisfies Record<string, { timeoutMs: number }>

export type ProgramName = keyof typeof PROGRAMS
