/**
 * Names and contracts of the shell programs that Landfall runs on machines. The texts lie beside the SSH adapter; the sandbox's
 * simulated machines emulate them by name. Output is `key=value` lines unless said otherwise.
 */

export const PROGRAMS = {
  /** → os, uptime_s, clock_s, memory_mb, disk_free_mb, docker (version|none), swarm (active|inactive), cloud_init (done|running|error|none),
   *    dokploy (absent|installing|failed|installed), dokploy_login (present|absent), ssh_client (the caller's address as the server sees it) */
  facts: { timeoutMs: 20_000 },
  /** PRIVATE, PUBLIC → replaces every SSH host key by this pair, reloads sshd, prints `ok=1`. Safe to repeat. */
  'rotate-host-key': { timeoutMs: 30_000 },
  /** → EMAIL, PASSWORD, API_KEY as `NAME <base64>` lines; exit 4 when nothing is kept yet. API_KEY may be missing. */
  'read-dokploy-login': { timeoutMs: 20_000 },
  /** EMAIL, PASSWORD, API_KEY (each optional, kept when absent) → root-only file, replaced atomically, prints `ok=1` */
  'write-dokploy-login': { timeoutMs: 20_000 },
  /** VERSION, ADVERTISE_ADDR, POOL → starts the install unit, or attaches to it when it exists; prints `unit=started|running|done` */
  'start-dokploy-install': { timeoutMs: 30_000 },
  /** → unit (absent|running|done|failed), stage, and on failure the last log lines as `log <base64>` lines */
  'watch-dokploy-install': { timeoutMs: 20_000 },
  /** → one line per container/service of the platform: `service <name> <replicas> <image>`; and `cloud_init_error <base64>` where it failed */
  inspect: { timeoutMs: 20_000 },
  /** APP → the app's releases, newest last, each a line of base64; exit 4 when there is none yet */
  'read-app-history': { timeoutMs: 20_000 },
  /** APP, ENTRY → root-only file, replaced atomically, at most 20 entries, prints `ok=1` */
  'append-app-history': { timeoutMs: 20_000 },
  /** ACTION (keep|restore), APP_NAME, IMAGE (sha256:…) → tags the image so that it stays, or is what APP_NAME:latest means again;
   *    prints image (present|absent) */
  'app-image': { timeoutMs: 60_000 },
  /** KIND, IMAGE, BUCKET, KEY, BYTES, ENDPOINT, REGION, PROVIDER, ACCESS_KEY, SECRET_KEY → reads a backup and restores it into a
   *    throw-away container; prints bytes, items (tables, collections or files), for a panel key (present|absent), and `ok=1` */
  'drill-backup': { timeoutMs: 30 * 60_000 },
  /** → docker (ready|absent), caddyfile (sha256|none), certificate (base64 of PEM), and a line
   *    `preview <number> <head> <generation> <up|down|failed|partial> <since, s> <why, base64>` for each */
  'preview-look': { timeoutMs: 60_000 },
  /** RANGE → Docker, Compose and git are there, containers reach neither the metadata service nor RANGE; prints `ok=1` */
  'preview-host': { timeoutMs: 10 * 60_000 },
  /** NUMBER, HEAD, GENERATION, REPOSITORY, FILE, TOKEN (optional) → the commit is in the preview's folder; prints checkout, file (base64|absent|large) */
  'preview-fetch': { timeoutMs: 5 * 60_000 },
  /** NUMBER, HEAD, GENERATION and COMPOSE, PATHS, SERVICES, VARIABLES, LIMIT, or WHY it cannot be → prints state (up|failed) */
  'preview-up': { timeoutMs: 20 * 60_000 },
  /** NUMBER → nothing of it is left; prints `ok=1` */
  'preview-down': { timeoutMs: 3 * 60_000 },
  /** CERTIFICATE, KEY, CADDYFILE, IMAGE (all optional) → kept, and served; prints `ok=1` */
  'preview-edge': { timeoutMs: 5 * 60_000 },
  /** NUMBER → the last lines of its deploy and of its containers */
  'preview-logs': { timeoutMs: 30_000 },
  /** → addresses (ip@interface, with commas), and for each of consul, nomad, caddy: <part>_version (none when absent), <part>_state (systemd's
   *    word), <part>_files (SHA-256 of configuration and unit, or none), <part>_certificate (base64 of PEM, or empty) */
  'cluster-facts': { timeoutMs: 20_000 },
  /** → `SECRETS <base64>`; exit 4 when there are none */
  'read-cluster-secrets': { timeoutMs: 20_000 },
  /** SECRETS → root-only file, prints `ok=1`; exit 5 when others are kept there */
  'write-cluster-secrets': { timeoutMs: 20_000 },
  /** PART (consul|nomad|caddy), CONFIG, UNIT, VERSION, URL, SHA256 (empty: no matter), CA, CERT, KEY, JOIN (optional) → installs, writes and
   *    (re)starts what differs; prints changed (words with spaces between). Exit 6 when the program cannot be had. */
  'set-cluster-part': { timeoutMs: 10 * 60_000 },
  /** PART (consul|nomad|caddy|docker), LINES → the end of its journal, as it is */
  'cluster-log': { timeoutMs: 20_000 },
} satisfies Record<string, { timeoutMs: number }>

export type ProgramName = keyof typeof PROGRAMS
