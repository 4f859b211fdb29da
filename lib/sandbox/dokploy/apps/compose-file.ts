/** What Dokploy and compose make of a compose file: its services, the labels of its domains, and what would fail the deploy. */

import { headOf, pull, sha256 } from './images.ts'
import type { Behaviour, HeadRow, PlatformState, ServiceRow, WireRow } from './rows.ts'

export interface ComposeService {
  readonly name: string
  readonly image: string
  readonly digest: string
  readonly version: string
  readonly behaviour: Behaviour
  readonly checked: boolean
  readonly startFirst: boolean
}

interface File {
  readonly services?: Readonly<
    Record<
      string,
      {
        image?: string
        build?: unknown
        pull_policy?: unknown
        env_file?: unknown
        healthcheck?: unknown
        deploy?: unknown
      } | null
    >
  >
  readonly volumes?: Readonly<Record<string, { name?: string; external?: boolean } | null>>
}

/** What an untouched repository holds: a service behind each domain that the stack has, or one that has none. */
const ordinaryFile = (state: PlatformState, service: ServiceRow): string => {
  const named = state.domains
    .all()
    .flatMap(row => (row.composeId === service.id && row.serviceName ? [String(row.serviceName)] : []))
  const names = new Set(named.length > 0 ? named : ['web'])
  return Bun.YAML.stringify({ services: Object.fromEntries([...names].map(name => [name, { build: '.' }])) }, null, 2)
}

/** The only file that a stack's own text leaves beside its code. */
const OWN_FILE = 'docker-compose.yml'

const barePath = (path: string): string => path.replace(/^\.?\//, '')

/** The text of a stack's file: its own, or the one in its repository. */
export const composeText = (state: PlatformState, service: ServiceRow, head = headFor(state, service)): string => {
  const path = barePath(String(service.columns.composePath ?? ''))
  return head ? (head.files[path] ?? ordinaryFile(state, service)) : String(service.columns.composeFile ?? '')
}

/** The file that the deploy's command names, wherever Dokploy has written one. */
const fileRun = ({ columns }: ServiceRow): string => {
  const [, named] = / (?:-f|--file) (\S+)/.exec(String(columns.command ?? '').split(' && ')[0] ?? '') ?? []
  return barePath(named ?? (columns.sourceType === 'raw' ? OWN_FILE : String(columns.composePath ?? '')))
}

/** Why the command finds no file; undefined when it does. */
const missingFile = (service: ServiceRow, head: HeadRow | undefined): string | undefined => {
  const file = fileRun(service)
  const isThere = head
    ? head.files[file] !== undefined || file === barePath(String(service.columns.composePath ?? ''))
    : file === OWN_FILE
  return isThere ? undefined : `open /etc/dokploy/compose/${service.appName}/code/${file}: no such file or directory`
}

const folderOf = (file: string): string => file.slice(0, Math.max(0, file.lastIndexOf('/')))

/** Whether compose finds the variables: they lie beside the stored path, where there is such a folder, and it looks beside the file that it runs. */
export const findsVariables = (service: ServiceRow): boolean => {
  const { columns } = service
  if (columns.composeType === 'stack') return true
  const written = folderOf(barePath(String(columns.composePath ?? '')))
  return columns.createEnvFile !== false && written === folderOf(fileRun(service))
}

/** The commit that a stack from a repository is at. */
export const headFor = (state: PlatformState, { columns }: ServiceRow): HeadRow | undefined =>
  columns.sourceType === 'raw'
    ? undefined
    : headOf(
        state,
        String(columns.customGitUrl ?? '') || `https://github.com/${String(columns.owner)}/${String(columns.repository)}`,
        String(columns.customGitBranch ?? columns.branch ?? ''),
      )

/** The services, or why the file cannot be used. */
export const composeServices = (
  state: PlatformState,
  service: ServiceRow,
  head: HeadRow | undefined,
): ComposeService[] | string => {
  const missing = missingFile(service, head)
  if (missing !== undefined) return missing
  const text = head?.files[fileRun(service)] ?? composeText(state, service, head)
  let file: File
  try {
    file = (Bun.YAML.parse(text) as File | null) ?? {}
  } catch (error) {
    if (error instanceof SyntaxError) return `yaml: ${error.message}`
    throw error
  }
  const entries = Object.entries(file.services ?? {})
  if (entries.length === 0) return 'no service selected'
  const services: ComposeService[] = []
  const isStack = service.columns.composeType === 'stack'
  for (const [name, spec] of entries) {
    // The file format of stacks is an older one.
    if (isStack && spec?.pull_policy !== undefined) return `services.${name} Additional property pull_policy is not allowed`
    const [lost] = head ? [] : [spec?.env_file ?? []].flat().filter(each => barePath(String(each)) !== '.env')
    if (lost !== undefined) return `env file /etc/dokploy/compose/${service.appName}/code/${String(lost)} not found`
    const common = {
      name,
      checked: spec?.healthcheck !== undefined,
      startFirst: JSON.stringify(spec?.deploy ?? '').includes('start-first'),
    }
    const ref = spec?.image ?? ''
    if (ref !== '' && spec?.build === undefined) {
      // A bare id names an image that lies on the machine.
      const local = /^sha256:[0-9a-f]{64}$/.test(ref)
      const image = local ? localImage(state, ref) : pull(state, ref)
      if (!image)
        return local ? `Error response from daemon: No such image: ${ref}` : `manifest for ${ref} not found: manifest unknown`
      // A stack's images are asked for their digests when it is deployed.
      const named = isStack && !local && !ref.includes('@') ? `${ref}@${image.digest}` : ref
      services.push({ ...common, image: named, digest: image.digest, version: image.version, behaviour: image.behaviour })
      continue
    }
    if (isStack) return `service ${name}: a stack cannot build`
    const behaviour = head?.behaviour ?? 'healthy'
    const commit = head?.commit ?? sha256(text).slice(0, 40)
    const digest = `sha256:${sha256(`${service.appName} ${name} ${commit}`)}`
    state.images.put(digest, { name: `${service.appName}-${name}`, digest, version: commit, behaviour })
    services.push({ ...common, image: `${service.appName}-${name}`, digest, version: commit, behaviour })
  }
  return services
}

/** What Docker calls the volumes that the file names. */
export const composeVolumes = (state: PlatformState, service: ServiceRow): string[] => {
  const file = Bun.YAML.parse(composeText(state, service)) as File | null
  return Object.entries(file?.volumes ?? {}).map(
    ([name, spec]) => spec?.name ?? (spec?.external === true ? name : `${service.appName}_${name}`),
  )
}

const localImage = ({ images }: Pick<PlatformState, 'images'>, digest: string) => images.all().find(row => row.digest === digest)

/** Why a deploy of this stack fails before anything is started. */
export const firstFaultOf = (
  service: ServiceRow,
  domains: readonly WireRow[],
  services: readonly string[],
): string | undefined => {
  for (const domain of domains) {
    if (typeof domain.serviceName !== 'string' || domain.serviceName === '') return 'Service name not found'
    if (!services.includes(domain.serviceName)) return `The service ${domain.serviceName} not found in the compose`
  }
  const command = String(service.columns.command ?? '').trim()
  if (/[;|`$(){}<>\n\\]/.test(command)) return 'Invalid characters in compose command: shell control characters are not allowed'
  if (/(?<!&)&(?!&)/.test(command) || command.includes('&&&')) return "Single '&' is not allowed. Use '&&' for chaining."
  const chained = command.split('&&').slice(1)
  return chained.every(part => /^\s*docker(?: |-)compose /.test(part))
    ? undefined
    : "Chained commands must strictly start with 'docker compose '"
}

/** The routes of a stack's labels, in the form of a dynamic file; undefined when it has no domain. */
export const domainLabels = (appName: string, domains: readonly WireRow[]): string | undefined => {
  if (domains.length === 0) return undefined
  const routers: Record<string, unknown> = {}
  const services: Record<string, unknown> = {}
  for (const row of domains) {
    const key = `${appName}-${String(row.uniqueConfigKey)}`
    Object.assign(routers, routersOf(row, key, key))
    services[key] = { loadBalancer: { servers: [{ url: `http://${appName}.${String(row.serviceName)}:${String(row.port)}` }] } }
  }
  return `${Bun.YAML.stringify({ http: { routers, services } }, null, 2)}\n`
}

/** The router for `web`, and the one for `websecure` when the domain is served over HTTPS. */
export const routersOf = (row: WireRow, name: string, service: string): Record<string, unknown> => {
  const path = typeof row.path === 'string' && row.path !== '/' ? ` && PathPrefix(\`${row.path}\`)` : ''
  const rule = `Host(\`${String(row.host)}\`)${path}`
  const https = row.https === true
  const resolver =
    row.certificateType === 'letsencrypt' ? 'letsencrypt' : row.certificateType === 'custom' ? row.customCertResolver : undefined
  return {
    [name]: { rule, service, middlewares: https ? ['redirect-to-https'] : [], entryPoints: ['web'] },
    ...(https
      ? {
          [`${name}-websecure`]: {
            rule,
            service,
            middlewares: [],
            entryPoints: ['websecure'],
            ...(typeof resolver === 'string' ? { tls: { certResolver: resolver } } : {}),
          },
        }
      : {}),
  }
}
