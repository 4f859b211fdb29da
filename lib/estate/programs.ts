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
} satisfies Record<string, { timeoutMs: number }>

export type ProgramName = keyof typeof PROGRAMS
