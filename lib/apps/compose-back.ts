/** What a compose stack needs to run again from its kept file alone: that file with what ran, and a command that reads it. Pure. */

import { LandfallError } from '../errors.ts'
import type { Compose } from '../providers/ports/dokploy-apps.ts'

interface ComposeService extends Record<string, unknown> {
  build?: unknown
  env_file?: unknown
  label_file?: unknown
  extends?: unknown
  volumes?: unknown
}

interface ComposeFile {
  services?: Record<string, ComposeService | null>
  configs?: Record<string, { file?: unknown } | null>
  secrets?: Record<string, { file?: unknown } | null>
  include?: unknown
}

/** The file that Dokploy writes when it holds the text itself: the only one in the folder, with the variables beside it. */
const OWN_FILE = 'docker-compose.yml'
export const OWN_PATH = `./${OWN_FILE}`

function parse(file: string): ComposeFile {
  try {
    return (Bun.YAML.parse(file) as ComposeFile | null) ?? {}
  } catch (error) {
    throw new LandfallError('config', 'The kept compose file cannot be read.', { cause: error })
  }
}

/** The file with every image named by what ran, so that no tag can have moved on. @throws LandfallError config */
export function pinImages(file: string, services: Readonly<Record<string, string>>, type: Compose['type']): string {
  const parsed = parse(file)
  for (const [name, image] of Object.entries(services)) {
    const service = parsed.services?.[name]
    if (!service) continue
    delete service.build
    service.image = image
    // An image without a registry behind it can only be the one that lies here. A stack's format has no word for it: Swarm takes it as well.
    if (type === 'docker-compose' && image.startsWith('sha256:')) service.pull_policy = 'never'
  }
  return `${Bun.YAML.stringify(parsed, null, 2)}\n`
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : value === undefined ? [] : [value])
const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined

/** Short form "./a:/b", or the long one of a bind. */
const bindOf = (volume: unknown): unknown => {
  if (typeof volume !== 'string') return fieldOf(volume, 'type') === 'bind' ? fieldOf(volume, 'source') : undefined
  const [source = ''] = volume.split(':')
  return /^\.\.?(?:\/|$)/.test(source) ? source : undefined
}

const contextOf = (build: unknown): unknown => {
  const context = typeof build === 'object' && build !== null ? (fieldOf(build, 'context') ?? '.') : build
  return typeof context === 'string' && /^(?:[a-z]+:\/\/|git@|github\.com\/)/.test(context) ? undefined : context
}

/**
 * What else of a repository a file needs, which a stack's own text would have to do without.
 * @param path of the file in its repository
 * @throws LandfallError config
 */
export function filesBeside(file: string, path: string): readonly string[] {
  const { services, configs, secrets, include } = parse(file)
  const named: readonly unknown[] = [
    ...Object.values(services ?? {}).flatMap(service => [
      ...listOf(service?.volumes).map(bindOf),
      ...listOf(service?.env_file).map(each => fieldOf(each, 'path') ?? each),
      ...listOf(service?.label_file),
      fieldOf(service?.extends, 'file'),
      contextOf(service?.build),
    ]),
    ...[...Object.values(configs ?? {}), ...Object.values(secrets ?? {})].map(each => each?.file),
    ...listOf(include).flatMap(each => listOf(fieldOf(each, 'path') ?? each)),
  ]
  // Dokploy's own folder of files lies beside the code, where a file in a folder has another way to it.
  const isAtTop = !bare(path).includes('/')
  const paths = named.flatMap(each => (typeof each === 'string' && each !== '' ? [each] : []))
  return [...new Set(paths)].filter(
    each => !/^[/~$]/.test(each) && bare(each) !== '.env' && !(isAtTop && each.startsWith('../files/')),
  )
}

const bare = (path: string): string => path.replace(/^(?:\.\/)+/, '')

/** A stack's command, made to read its own text; undefined when it reads more of a repository than the one file. */
export function commandBack({ appName, path, command, source }: Pick<Compose, 'appName' | 'path' | 'command' | 'source'>) {
  const from = [path, bare(path), OWN_FILE].map(file => `compose -p ${appName} -f ${file} `)
  const to = `compose -p ${appName} -f ${OWN_FILE} `
  const parts = command === '' ? [] : command.split(' && ')
  const changed = parts.map(part => {
    const docker = part.startsWith('docker ') ? 'docker ' : ''
    const prefix = from.find(each => part.startsWith(each, docker.length))
    const rest = prefix === undefined ? '-' : part.slice(docker.length + prefix.length)
    return rest.startsWith('-') ? undefined : `${docker}${to}${rest}`
  })
  if (changed.every(each => each !== undefined)) return changed.join(' && ')
  return source.kind === 'raw' ? command : undefined
}
