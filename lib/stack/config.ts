/** The section `stacks` of a configuration file, checked by hand; every mistake at once, each with its line. Pure. */

import { LandfallError } from '../errors.ts'
import { type Mistake, type Path, parseJson } from '../estate/json.ts'
import { didYouMean, listed, quoted, renderPath } from '../estate/words.ts'

export const ENVIRONMENTS = ['dev', 'staging', 'prod'] as const
export type EnvironmentName = (typeof ENVIRONMENTS)[number]

export interface StackEnvironment {
  readonly name: EnvironmentName
  /** The Compose file, relative to the configuration. */
  readonly file: string
  readonly envFile?: string
  /** `local`: Docker on this machine. `ssh`: the hosts in `<ENV>_DEPLOY_HOST`. */
  readonly on: 'local' | 'ssh'
  /** Absolute folder of the stack on the host; needed with `ssh`. */
  readonly directory?: string
  /** `ssh-ed25519 AAAA…` by host, as it stands in `<ENV>_DEPLOY_HOST`. */
  readonly hostKeys: Readonly<Record<string, string>>
  /** What nginx has to answer with 200, asked from the host itself. */
  readonly health: readonly { readonly url: string; readonly host: string }[]
}

export interface StackConfig {
  readonly name: string
  /** Compose's project name. */
  readonly project: string
  /** In the order of the deploy; the proxy is last. */
  readonly services: readonly string[]
  /** Never rolled. */
  readonly stateful: readonly string[]
  readonly nginx: { readonly service: string; readonly config: string }
  readonly startS: number
  readonly drainS: number
  /** GitHub workflow that deploys this stack, for the audit. */
  readonly workflow?: string
  readonly environments: readonly StackEnvironment[]
  /** The file that says so; absent when there is none. */
  readonly source?: string
  readonly lineOf: (path: Path) => number
}

type Group = Record<string, unknown>
const isGroup = (value: unknown): value is Group => typeof value === 'object' && value !== null && !Array.isArray(value)

const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/
const SERVICE = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/
const HOST_KEY = /^ssh-ed25519 [A-Za-z0-9+/]{68}$/
const STACK_KEYS = ['project', 'services', 'stateful', 'nginx', 'start_s', 'drain_s', 'workflow', 'environments']
const ENVIRONMENT_KEYS = ['file', 'env_file', 'on', 'directory', 'host_keys', 'health']

/**
 * Reads `stacks` from a configuration's text. Service names are judged by the audit, which knows the Compose file.
 * @throws LandfallError config with one line per mistake
 */
export function parseStacks(text: string, source: string): readonly StackConfig[] {
  const json = parseJson(text)
  const mistakes: Mistake[] = [...json.mistakes]
  const wrong = (path: Path, says: string) => void mistakes.push({ path, says })
  const root = isGroup(json.value) ? json.value : {}
  const section = root.stacks
  if (json.value !== undefined && !isGroup(section)) wrong([], 'has no group "stacks"')
  const lineOf = (path: Path): number => {
    for (let length = path.length; length >= 0; length--) {
      const at = json.positionOf(path.slice(0, length))
      if (at) return at.line
    }
    return 1
  }

  const unknown = (value: Group, path: Path, known: readonly string[]) => {
    for (const key of Object.keys(value))
      if (!known.includes(key)) wrong([...path, key], `unknown key${didYouMean(key, known) || `; known are ${listed(known)}`}`)
  }
  const textAt = (value: Group, key: string, path: Path, pattern: RegExp, what: string): string | undefined => {
    const given = value[key]
    if (given === undefined) return undefined
    if (typeof given === 'string' && pattern.test(given)) return given
    wrong([...path, key], `must be ${what}, not ${quoted(given)}`)
    return undefined
  }
  const namesAt = (value: Group, key: string, path: Path): readonly string[] => {
    const given = value[key]
    if (given === undefined) return []
    if (Array.isArray(given) && given.every(each => typeof each === 'string' && SERVICE.test(each))) return given
    wrong([...path, key], 'must be a list of service names')
    return []
  }
  const secondsAt = (value: Group, key: string, path: Path, fallback: number): number => {
    const given = value[key]
    if (given === undefined) return fallback
    if (typeof given === 'number' && Number.isInteger(given) && given >= 1 && given <= 3600) return given
    wrong([...path, key], `must be a whole number of seconds from 1 to 3600, not ${quoted(given)}`)
    return fallback
  }

  const environmentAt = (name: string, raw: unknown, path: Path): StackEnvironment[] => {
    const known = ENVIRONMENTS.find(each => each === name)
    if (known === undefined)
      wrong(path, `is no environment${didYouMean(name, ENVIRONMENTS) || `; there are ${listed(ENVIRONMENTS)}`}`)
    if (!isGroup(raw)) {
      wrong(path, 'must be a group of keys in braces')
      return []
    }
    unknown(raw, path, ENVIRONMENT_KEYS)
    const file = textAt(raw, 'file', path, /./, 'the path of a Compose file')
    if (file === undefined) wrong(path, 'names no Compose file (key "file")')
    const on = textAt(raw, 'on', path, /^(?:local|ssh)$/, '"local" or "ssh"') ?? 'local'
    const directory = textAt(raw, 'directory', path, /^\/[^\n]*$/, 'an absolute path on the host')
    if (on === 'ssh' && directory === undefined) wrong(path, 'needs "directory", the stack’s folder on the host')
    const hostKeys = isGroup(raw.host_keys) ? raw.host_keys : {}
    for (const [host, key] of Object.entries(hostKeys))
      if (typeof key !== 'string' || !HOST_KEY.test(key))
        wrong([...path, 'host_keys', host], 'must be a host key like "ssh-ed25519 AAAA…"')
    const health = Array.isArray(raw.health) ? raw.health : []
    const asked = health.flatMap((each, index) => {
      const url = isGroup(each) && typeof each.url === 'string' ? URL.parse(each.url) : null
      const host = isGroup(each) && typeof each.host === 'string' ? each.host : url?.host
      if (url && host && /^https?:$/.test(url.protocol) && /^[A-Za-z0-9.:_-]+$/.test(host)) return [{ url: url.href, host }]
      wrong([...path, 'health', index], 'must be {"url": "http://…", "host": "the name that nginx serves it under"}')
      return []
    })
    const envFile = textAt(raw, 'env_file', path, /./, 'a path')
    if (!known || file === undefined) return []
    return [
      {
        name: known,
        file,
        on: on === 'ssh' ? 'ssh' : 'local',
        hostKeys: Object.fromEntries(Object.entries(hostKeys).map(([host, key]) => [host, String(key)])),
        health: asked,
        ...(envFile === undefined ? {} : { envFile }),
        ...(directory === undefined ? {} : { directory }),
      },
    ]
  }

  const stacks = Object.entries(isGroup(section) ? section : {}).flatMap(([name, raw]): StackConfig[] => {
    const path = ['stacks', name]
    if (!NAME.test(name)) wrong(path, 'must be a name of lower-case letters, digits, hyphens and underscores')
    if (!isGroup(raw)) {
      wrong(path, 'must be a group of keys in braces')
      return []
    }
    unknown(raw, path, STACK_KEYS)
    const nginx = isGroup(raw.nginx) ? raw.nginx : {}
    unknown(nginx, [...path, 'nginx'], ['service', 'config'])
    const services = namesAt(raw, 'services', path)
    if (services.length === 0) wrong(path, 'names no services to deploy (key "services")')
    const workflow = textAt(raw, 'workflow', path, /./, 'a path')
    const environments = Object.entries(isGroup(raw.environments) ? raw.environments : {}).flatMap(([environment, value]) =>
      environmentAt(environment, value, [...path, 'environments', environment]),
    )
    if (environments.length === 0 && !isGroup(raw.environments)) wrong(path, 'has no environments (key "environments")')
    return [
      {
        name,
        project: textAt(raw, 'project', path, NAME, 'a Compose project name') ?? name,
        services,
        stateful: namesAt(raw, 'stateful', path),
        nginx: {
          service: textAt(nginx, 'service', [...path, 'nginx'], SERVICE, 'a service name') ?? 'nginx',
          config: textAt(nginx, 'config', [...path, 'nginx'], /./, 'a path') ?? 'nginx',
        },
        startS: secondsAt(raw, 'start_s', path, 120),
        drainS: secondsAt(raw, 'drain_s', path, 15),
        environments,
        source,
        lineOf: inner => lineOf([...path, ...inner]),
        ...(workflow === undefined ? {} : { workflow }),
      },
    ]
  })
  if (mistakes.length === 0) return stacks
  const lines = mistakes.map(
    ({ path, says, at }) => `  line ${at?.line ?? lineOf(path)}  ${path.length === 0 ? says : `${renderPath(path)}: ${says}`}`,
  )
  throw new LandfallError(
    'config',
    [
      `${source} has ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`} in "stacks":`,
      ...lines.slice(0, 50),
    ].join('\n'),
    {
      hint: 'examples/compose-rolling.json is a whole example.',
    },
  )
}

/** A stack that no configuration describes: what a Compose file alone says. */
export const stackOfFile = (
  file: string,
  options: { readonly nginxConfig?: string; readonly services?: readonly string[] } = {},
): StackConfig => ({
  name: 'stack',
  project: 'stack',
  services: options.services ?? [],
  stateful: [],
  nginx: { service: 'nginx', config: options.nginxConfig ?? 'nginx' },
  startS: 120,
  drainS: 15,
  environments: [{ name: 'prod', file, on: 'local', hostKeys: {}, health: [] }],
  lineOf: () => 1,
})
