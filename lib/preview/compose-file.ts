/**
 * A pull request's Compose file is a stranger's text that root is asked to carry out. It is not repaired: a new one is written from
 * the few keys that cannot reach beyond their own containers, and a file that asks for more is refused by name.
 */

export interface PreviewCompose {
  readonly number: number
  readonly service: string
  readonly port: number
  readonly memoryMb: number
  /** Absolute folder of the checkout on the machine. */
  readonly checkout: string
  /** Folder of the Compose file inside the checkout, "" for its root. */
  readonly folder: string
  /** Published there, for an edge on another machine; absent: reached through the edge's own network. */
  readonly publish?: { readonly address: string; readonly port: number }
  /** Names that go into the environment of every service; the values travel beside the file. */
  readonly variables: readonly string[]
  readonly host: string
}

export type RenderedCompose =
  /** `paths`: what must lie inside the checkout even when links are followed. */
  | { readonly state: 'ready'; readonly file: string; readonly paths: readonly string[] }
  | { readonly state: 'refused'; readonly why: readonly string[] }

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

const SERVICE_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/
const MAX_SERVICES = 20
const MAX_BYTES = 256 * 1024

/** Carried over as they are. */
const KEPT = [
  'command',
  'entrypoint',
  'expose',
  'healthcheck',
  'working_dir',
  'user',
  'init',
  'read_only',
  'stop_grace_period',
  'stop_signal',
  'tty',
] as const
/** Left out without a word: they concern the place where the file is from, or what Landfall decides here. */
const DROPPED = [
  'ports',
  'labels',
  'restart',
  'container_name',
  'hostname',
  'networks',
  'deploy',
  'logging',
  'profiles',
  'pull_policy',
  'develop',
  'mem_limit',
  'cpus',
  'shm_size',
  'annotations',
  'platform',
  'stdin_open',
  'scale',
]
const TOP = ['services', 'volumes', 'networks', 'name', 'version']

/** @param text the Compose file as it stands in the repository */
export function renderPreviewCompose(text: string, preview: PreviewCompose): RenderedCompose {
  if (Buffer.byteLength(text) > MAX_BYTES) return refuse('The Compose file has more than 256 KiB.')
  let parsed: unknown
  try {
    parsed = Bun.YAML.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return refuse(`The Compose file is not YAML: ${error.message.slice(0, 200)}.`)
    throw error
  }
  if (!isFields(parsed) || !isFields(parsed.services)) return refuse('The Compose file has no services.')
  const why: string[] = Object.keys(parsed)
    .filter(name => !TOP.includes(name) && !name.startsWith('x-'))
    .map(name => `"${clip(name)}" is not allowed`)
  const names = Object.keys(parsed.services)
  if (names.length > MAX_SERVICES) why.push(`${names.length} services are more than ${MAX_SERVICES}`)
  if (!names.includes(preview.service))
    why.push(`there is no service "${preview.service}" for visitors to reach (previews.service)`)
  const volumes = namedVolumes(parsed.volumes, why)
  const paths: string[] = []
  const services: Record<string, unknown> = {}
  for (const [name, service] of Object.entries(parsed.services).slice(0, MAX_SERVICES)) {
    if (!SERVICE_NAME.test(name)) why.push(`"${clip(name)}" is no name for a service`)
    else if (!isFields(service)) why.push(`service "${name}" is not a group of keys`)
    else services[name] = renderService(name, service, { preview, volumes, names, why, paths })
  }
  if (why.length > 0) return { state: 'refused', why: why.map(each => `${each}.`) }
  const file = JSON.stringify({
    name: `pr-${preview.number}`,
    services,
    volumes: Object.fromEntries(volumes.map(each => [each, {}])),
  })
  return { state: 'ready', file, paths }
}

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r' }

/** The env file that holds `values`. Double quotes, because Compose cannot read a single-quoted value that ends with a backslash. */
export const renderVariables = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${name}="${value.replace(/[\\"$\n\r]/g, each => ESCAPES[each] ?? `\\${each}`)}"\n`)
    .join('')

const refuse = (why: string): RenderedCompose => ({ state: 'refused', why: [why] })
const clip = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 60)

function namedVolumes(value: unknown, why: string[]): string[] {
  if (value === undefined || value === null) return []
  if (!isFields(value)) {
    why.push('"volumes" is not a group of names')
    return []
  }
  return Object.entries(value).flatMap(([name, options]) => {
    const plain = options === null || (isFields(options) && Object.keys(options).length === 0)
    if (!plain) why.push(`volume "${clip(name)}" has options: a driver can mount anything`)
    if (!SERVICE_NAME.test(name)) why.push(`"${clip(name)}" is no name for a volume`)
    return [name]
  })
}

interface Rendering {
  readonly preview: PreviewCompose
  readonly volumes: readonly string[]
  readonly names: readonly string[]
  readonly why: string[]
  readonly paths: string[]
}

function renderService(name: string, service: Fields, { preview, volumes, names, why, paths }: Rendering): Fields {
  const known = new Set<string>([...KEPT, ...DROPPED, 'image', 'build', 'environment', 'volumes', 'depends_on', 'tmpfs'])
  for (const key of Object.keys(service))
    if (!known.has(key) && !key.startsWith('x-'))
      why.push(`service "${name}" asks for "${clip(key)}", which previews may not have`)
  const mounts = list(service.volumes).map(mount => {
    const [source = '', target = ''] =
      typeof mount === 'string'
        ? mount.split(':')
        : isFields(mount) && mount.type === 'volume'
          ? [String(mount.source ?? ''), String(mount.target ?? '')]
          : []
    if (!volumes.includes(source) || !target.startsWith('/'))
      why.push(
        `service "${name}" mounts "${clip(typeof mount === 'string' ? mount : JSON.stringify(mount))}", which is no volume of this file`,
      )
    return { type: 'volume', source, target }
  })
  const needs = Array.isArray(service.depends_on)
    ? service.depends_on
    : isFields(service.depends_on)
      ? Object.keys(service.depends_on)
      : []
  for (const need of needs)
    if (!names.includes(String(need))) why.push(`service "${name}" depends on "${clip(String(need))}", which is not there`)
  const isShown = name === preview.service
  return {
    ...Object.fromEntries(KEPT.flatMap(key => (service[key] === undefined ? [] : [[key, service[key]]]))),
    // A build never has a name of its choice: every preview, and the edge, would run what it made under it.
    ...(service.build === undefined
      ? renderImage(name, service.image, why)
      : { build: renderBuild(name, service.build, preview, why, paths) }),
    environment: renderEnvironment(name, service.environment, preview, why),
    ...(mounts.length > 0 ? { volumes: mounts } : {}),
    ...(service.tmpfs === undefined ? {} : { tmpfs: list(service.tmpfs).map(String) }),
    ...(service.depends_on === undefined ? {} : { depends_on: service.depends_on }),
    restart: 'unless-stopped',
    mem_limit: `${preview.memoryMb}m`,
    cpus: 1,
    pids_limit: 512,
    cap_drop: ['NET_RAW', 'MKNOD', 'AUDIT_WRITE'],
    security_opt: ['no-new-privileges:true'],
    logging: { driver: 'json-file', options: { 'max-size': '5m', 'max-file': '2' } },
    networks: { default: isShown ? { aliases: [`pr-${preview.number}`] } : {} },
    ...(isShown && preview.publish ? { ports: [`${preview.publish.address}:${preview.publish.port}:${preview.port}`] } : {}),
  }
}

const list = (value: unknown): readonly unknown[] =>
  value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]

function renderEnvironment(name: string, value: unknown, preview: PreviewCompose, why: string[]): Fields {
  const entries = Array.isArray(value)
    ? value.map(each => {
        const [key = '', ...rest] = String(each).split('=')
        return [key, String(each).includes('=') ? rest.join('=') : null] as const
      })
    : Object.entries(isFields(value) ? value : {})
  for (const [key] of entries)
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,100}$/.test(key))
      why.push(`service "${name}" has a variable "${clip(key)}" without a usable name`)
  const given = Object.fromEntries(preview.variables.map(each => [each, `\${${each}}`]))
  // A key without a value would be taken from the environment of Compose itself.
  const own = entries.map(([key, each]) => [key, each === null ? (given[key] ?? '') : each])
  return { ...Object.fromEntries(own), ...given, PREVIEW_URL: `https://${preview.host}`, PREVIEW_NUMBER: String(preview.number) }
}

/** `path` below `folder`, as a path inside the checkout; undefined when it leaves it by its text. */
const inside = (folder: string, path: string): string | undefined => {
  if (path.startsWith('/') || /[^\w./ -]/.test(path)) return undefined
  const parts: string[] = []
  for (const part of `${folder}/${path}`.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return undefined
  }
  return parts.join('/')
}

/** What Compose calls that which it builds for a preview. */
const BUILT_IMAGE = /^(?:(?:index\.)?docker\.io\/)?(?:library\/)?pr-\d+-/

function renderImage(name: string, image: unknown, why: string[]): Fields {
  if (image === undefined) return {}
  const [text, repository = ''] = [String(image), String(image).split(/[:@]/)[0]]
  // A variable in a tag is as harmless as any tag; in a name it could spell every name.
  if (repository.includes('$'))
    why.push(`service "${name}" has the image "${clip(text)}": its name must stand there without variables`)
  if (BUILT_IMAGE.test(text)) why.push(`service "${name}" has the image "${clip(text)}", which is an image of a preview`)
  return { image }
}

function renderBuild(name: string, value: unknown, preview: PreviewCompose, why: string[], paths: string[]): Fields {
  const build: Fields = typeof value === 'string' ? { context: value } : isFields(value) ? value : {}
  const allowed = ['context', 'dockerfile', 'target', 'args', 'labels', 'tags', 'cache_from', 'cache_to', 'pull', 'no_cache']
  for (const key of Object.keys(build))
    if (!allowed.includes(key)) why.push(`the build of "${name}" asks for "${clip(key)}", which previews may not have`)
  const context = inside(preview.folder, String(build.context ?? '.'))
  const dockerfile = context === undefined ? undefined : inside(context, String(build.dockerfile ?? 'Dockerfile'))
  if (context === undefined || dockerfile === undefined) {
    why.push(`the build of "${name}" leads out of the repository`)
    return {}
  }
  paths.push(context, dockerfile)
  const at = (path: string) => (path === '' ? preview.checkout : `${preview.checkout}/${path}`)
  return {
    context: at(context),
    dockerfile: at(dockerfile),
    ...(typeof build.target === 'string' ? { target: build.target } : {}),
    ...(build.args === undefined ? {} : { args: build.args }),
  }
}
