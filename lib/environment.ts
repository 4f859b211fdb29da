/** The one reader of the process environment. Everything else is handed what it needs. */

import { Secret } from './secret.ts'

export interface Environment {
  readonly hcloudToken?: Secret
  readonly cloudflareToken?: Secret
  readonly digitaloceanToken?: Secret
  readonly hcloudEndpoint?: string
  readonly digitaloceanEndpoint?: string
  readonly cloudflareBaseUrl?: string
  readonly acmeDirectoryUrl?: string
  readonly githubToken?: Secret
  readonly githubApiUrl?: string
  /** Where repositories are cloned from: GitHub. */
  readonly gitCloneBase?: string
  readonly vercelToken?: Secret
  readonly vercelEndpoint?: string
  /** Team whose projects are read. */
  readonly vercelTeamId?: string
  /** Private key to log in with; otherwise the agent and the usual files. */
  readonly sshKeyFile?: string
  /** CONNECT proxy behind which the estate's addresses lie (the sandbox's internet). */
  readonly internet?: { readonly host: string; readonly port: number }
  /** Resolver to ask instead of the system's. */
  readonly resolver?: { readonly host: string; readonly port: number }
  /** Further trusted roots, PEM. */
  readonly caFile?: string
  readonly home: string
  /** Stands in for `nixos-anywhere` and what that needs. */
  readonly nixosAnywhere?: string
  /** What programs that are started here may be handed on of the environment; no token is among them. */
  readonly programs: Readonly<Record<string, string>>
  readonly ci: boolean
  readonly noColor: boolean
  readonly githubActions: boolean
  /** Any other variable, where a file of the operator's names it: Compose's `${…}`, a stack's deploy secrets. Empty counts as absent. */
  readonly lookup: (name: string) => string | undefined
  /** Somebody switched certificate checks off for the whole process. */
  readonly tlsChecksOff: boolean
}

const hostPort = (text: string | undefined): { host: string; port: number } | undefined => {
  const match = /^(?:http:\/\/)?([^:/]+):(\d+)\/?$/.exec(text ?? '')
  return match?.[1] && match[2] ? { host: match[1], port: Number(match[2]) } : undefined
}

const FOR_PROGRAMS = new Set([
  'PATH',
  'HOME',
  'LANG',
  'TMPDIR',
  'SSL_CERT_FILE',
  'NIX_PATH',
  'NIX_REMOTE',
  'NIX_SSL_CERT_FILE',
  'SSH_AUTH_SOCK',
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CERT_PATH',
  'DOCKER_TLS_VERIFY',
  'DOCKER_BUILDKIT',
])
const isForPrograms = (name: string): boolean => FOR_PROGRAMS.has(name) || /^PACKER_[A-Z_]+$/.test(name)

/** Reads the variables that Landfall knows. An empty value counts as absent. */
export function readEnvironment(source: Readonly<Record<string, string | undefined>>): Environment {
  const text = (name: string): string | undefined => source[name]?.trim() || undefined
  const secret = (name: string): Secret | undefined => {
    const value = text(name)
    return value ? new Secret(name, value) : undefined
  }
  const optional = <K extends keyof Environment>(key: K, value: Environment[K] | undefined) =>
    value === undefined ? {} : { [key]: value }
  return {
    ...optional('hcloudToken', secret('HCLOUD_TOKEN')),
    ...optional('cloudflareToken', secret('CLOUDFLARE_API_TOKEN')),
    ...optional('digitaloceanToken', secret('DIGITALOCEAN_TOKEN')),
    ...optional('githubToken', secret('GITHUB_TOKEN')),
    ...optional('githubApiUrl', text('GITHUB_API_URL')),
    ...optional('gitCloneBase', text('LANDFALL_CLONE_URL')),
    ...optional('vercelToken', secret('VERCEL_TOKEN')),
    ...optional('vercelEndpoint', text('VERCEL_ENDPOINT')),
    ...optional('vercelTeamId', text('VERCEL_TEAM_ID')),
    ...optional('hcloudEndpoint', text('HCLOUD_ENDPOINT')),
    ...optional('digitaloceanEndpoint', text('DIGITALOCEAN_ENDPOINT')),
    ...optional('cloudflareBaseUrl', text('CLOUDFLARE_BASE_URL')),
    ...optional('acmeDirectoryUrl', text('ACME_DIRECTORY_URL')),
    ...optional('sshKeyFile', text('LANDFALL_SSH_KEY')),
    ...optional('nixosAnywhere', text('LANDFALL_NIXOS_ANYWHERE')),
    ...optional('internet', hostPort(text('LANDFALL_INTERNET'))),
    ...optional('resolver', hostPort(text('LANDFALL_DNS'))),
    ...optional('caFile', text('LANDFALL_CA_FILE')),
    home: text('HOME') ?? '/root',
    programs: Object.fromEntries(
      Object.entries(source).flatMap(([name, value]) => (value !== undefined && isForPrograms(name) ? [[name, value]] : [])),
    ),
    ci: text('CI') !== undefined,
    noColor: source.NO_COLOR !== undefined && source.NO_COLOR !== '',
    githubActions: text('GITHUB_ACTIONS') === 'true',
    lookup: text,
    tlsChecksOff: text('NODE_TLS_REJECT_UNAUTHORIZED') === '0',
  }
}
