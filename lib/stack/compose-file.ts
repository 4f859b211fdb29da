/** A Compose file as it was written, in one shape whatever of its short and long forms was used. Pure. */

import { endingOf, parseSeconds } from './resolved.ts'
import { parseYaml, type YamlFile } from './yaml.ts'

export interface Mount {
  readonly source: string
  readonly target: string
  readonly kind: 'bind' | 'volume' | 'anonymous' | 'other'
  readonly readOnly: boolean
  readonly index: number
}

export interface WrittenService {
  readonly name: string
  readonly image: string | undefined
  readonly hasBuild: boolean
  readonly containerName: string | undefined
  /** The host's side of published ports; "" when Docker chooses one. */
  readonly hostPorts: readonly { readonly address: string; readonly port: string; readonly index: number }[]
  readonly mounts: readonly Mount[]
  readonly networkMode: string | undefined
  readonly hasFixedAddress: boolean
  readonly privileged: boolean
  readonly hostNamespaces: readonly string[]
  /** `wrong`: a test that Compose would misread or that is switched off. */
  readonly healthCheck: 'good' | 'none' | 'disabled' | 'wrong'
  readonly environment: Readonly<Record<string, string>>
  readonly envFiles: readonly { readonly path: string; readonly required: boolean }[]
  readonly dependsOn: readonly string[]
  /** Those of `dependsOn` that are to have ended well before it starts. */
  readonly awaitsEndOf: readonly string[]
  readonly secrets: readonly string[]
  readonly hasLimits: boolean
  readonly restart: string | undefined
  readonly stopGraceS: number
  readonly profiles: readonly string[]
  readonly deployMode: string | undefined
}

export interface ComposeFile {
  readonly file: string
  readonly text: string
  readonly yaml: YamlFile
  readonly services: Readonly<Record<string, WrittenService>>
  /** Files of top-level secrets, by name. */
  readonly secretFiles: Readonly<Record<string, string>>
  readonly hasServices: boolean
}

/** More than this is no file that a person keeps; refusing it costs nothing. */
export const MAX_COMPOSE_BYTES = 32 * 1024 * 1024

type Group = Record<string, unknown>
const isGroup = (value: unknown): value is Group => typeof value === 'object' && value !== null && !Array.isArray(value)
const group = (value: unknown): Group => (isGroup(value) ? value : {})
const list = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]
const text = (value: unknown): string | undefined =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
const texts = (value: unknown): readonly string[] => list(value).flatMap(each => text(each) ?? [])

export function parseComposeFile(file: string, source: string): ComposeFile {
  const yaml = parseYaml(source)
  const root = group(yaml.value)
  const services = Object.fromEntries(
    Object.entries(group(root.services)).map(([name, raw]) => [name, parseService(name, group(raw))]),
  )
  const secretFiles = Object.fromEntries(
    Object.entries(group(root.secrets)).flatMap(([name, raw]) => {
      const path = text(group(raw).file)
      return path === undefined ? [] : [[name, path]]
    }),
  )
  return { file, text: source, yaml, services, secretFiles, hasServices: isGroup(root.services) }
}

function parseService(name: string, raw: Group): WrittenService {
  const deploy = group(raw.deploy)
  const limits = group(group(deploy.resources).limits)
  return {
    name,
    image: text(raw.image),
    hasBuild: raw.build !== undefined && raw.build !== null,
    containerName: text(raw.container_name),
    hostPorts: list(raw.ports).flatMap((port, index) => parsePort(port, index)),
    mounts: list(raw.volumes).map((mount, index) => parseMount(mount, index)),
    networkMode: text(raw.network_mode),
    hasFixedAddress: Object.values(group(raw.networks)).some(each => group(each).ipv4_address ?? group(each).ipv6_address),
    privileged: raw.privileged === true || raw.privileged === 'true',
    hostNamespaces: ['pid', 'ipc', 'userns_mode', 'uts'].filter(key => raw[key] === 'host'),
    healthCheck: parseHealthCheck(raw.healthcheck),
    environment: Array.isArray(raw.environment)
      ? Object.fromEntries(
          texts(raw.environment).map(line => [
            line.split('=')[0] ?? '',
            line.includes('=') ? line.slice(line.indexOf('=') + 1) : '',
          ]),
        )
      : Object.fromEntries(Object.entries(group(raw.environment)).map(([key, value]) => [key, text(value) ?? ''])),
    envFiles: list(raw.env_file).flatMap(each => {
      const path = isGroup(each) ? text(each.path) : text(each)
      return path === undefined ? [] : [{ path, required: !(isGroup(each) && each.required === false) }]
    }),
    dependsOn: Array.isArray(raw.depends_on) ? texts(raw.depends_on) : Object.keys(group(raw.depends_on)),
    awaitsEndOf: endingOf(raw.depends_on),
    secrets: list(raw.secrets).flatMap(each => (isGroup(each) ? (text(each.source) ?? []) : (text(each) ?? []))),
    hasLimits: limits.memory !== undefined || raw.mem_limit !== undefined,
    restart: text(raw.restart) ?? (deploy.restart_policy === undefined ? undefined : 'deploy'),
    stopGraceS: parseSeconds(text(raw.stop_grace_period)) ?? 10,
    profiles: texts(raw.profiles),
    deployMode: text(deploy.mode),
  }
}

/** `8080:80`, `127.0.0.1:8080:80/tcp`, `80` or the long form. */
function parsePort(port: unknown, index: number): WrittenService['hostPorts'] {
  if (isGroup(port)) {
    const published = text(port.published)
    return published === undefined ? [] : [{ address: text(port.host_ip) ?? '', port: published, index }]
  }
  // `${PORT:-8080}` holds a colon of its own.
  const plain = (text(port) ?? '').replace(/\$\{[^}]*\}/g, match => match.replaceAll(':', ';'))
  const parts = plain.replace(/\/(?:tcp|udp)$/, '').split(':')
  if (parts.length < 2) return []
  return [{ address: parts.slice(0, -2).join(':'), port: (parts.at(-2) ?? '').replaceAll(';', ':'), index }]
}

function parseMount(mount: unknown, index: number): Mount {
  if (isGroup(mount)) {
    const type = text(mount.type) ?? 'volume'
    const source = text(mount.source) ?? ''
    const kind = type === 'bind' ? 'bind' : type !== 'volume' ? 'other' : source === '' ? 'anonymous' : 'volume'
    return { source, target: text(mount.target) ?? '', kind, readOnly: mount.read_only === true, index }
  }
  const plain = (text(mount) ?? '').replace(/\$\{[^}]*\}/g, match => match.replaceAll(':', ';'))
  const [source = '', target, mode = ''] = plain.split(':').map(part => part.replaceAll(';', ':'))
  if (target === undefined) return { source: '', target: source, kind: 'anonymous', readOnly: false, index }
  return {
    source,
    target,
    kind: /^[./~]|^\$\{?PWD/.test(source) ? 'bind' : 'volume',
    readOnly: mode.split(',').includes('ro'),
    index,
  }
}

function parseHealthCheck(raw: unknown): WrittenService['healthCheck'] {
  if (!isGroup(raw)) return 'none'
  if (raw.disable === true) return 'disabled'
  const { test } = raw
  if (test === undefined) return 'none'
  if (typeof test === 'string') return test.trim() === '' ? 'wrong' : test.trim() === 'NONE' ? 'disabled' : 'good'
  const words = texts(test)
  if (words[0] === 'NONE') return 'disabled'
  if (words[0] === 'CMD-SHELL') return words.length === 2 ? 'good' : 'wrong'
  return words[0] === 'CMD' && words.length > 1 ? 'good' : 'wrong'
}

export interface Variable {
  readonly name: string
  readonly line: number
}

/** Variables that Compose would ask for and that have no value of their own: `$X`, `${X}`, `${X?why}`; not `$$X` or `${X:-d}`. */
export function neededVariables(source: string): readonly Variable[] {
  const found: Variable[] = []
  let number = 0
  for (const line of source.split('\n')) {
    number++
    if (!line.includes('$') || line.trimStart().startsWith('#')) continue
    for (const match of line.matchAll(/\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(:?[-+][^}]*|:?\?[^}]*)?\})/g)) {
      const name = match[1] ?? match[2]
      if (name !== undefined && !/^:?[-+]/.test(match[3] ?? '')) found.push({ name, line: number })
    }
  }
  return found
}

/** Every variable that the file mentions, with a default or without. */
export const mentionedVariables = (source: string): readonly string[] => [
  ...new Set([...source.matchAll(/\$(?:\$|\{?([A-Za-z_]\w*))/g)].flatMap(match => match[1] ?? [])),
]
