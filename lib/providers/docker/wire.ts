/** What the programs print, read into our words. */

import { gunzipSync } from 'node:zlib'
import type {
  ContainerHealth,
  ContainerState,
  HealthResult,
  StackContainer,
  StackImage,
  StackImageUse,
  SwitchResult,
} from '../ports/docker.ts'

export const encoded = (text: string): string => Buffer.from(text, 'utf8').toString('base64')
export const decoded = (text: string): string => Buffer.from(text, 'base64').toString('utf8')
export const unpacked = (text: string): string => (text === '' ? '' : gunzipSync(Buffer.from(text, 'base64')).toString('utf8'))
export const lines = (text: string): readonly string[] => text.split('\n').filter(line => line.trim() !== '')

/** What a program printed: `key=value` lines, keys more than once for lists. */
export interface Answer {
  has(key: string): boolean
  word(key: string): string
  packed(key: string): string
  all(key: string): readonly string[]
}

export function parseAnswer(stdout: string): Answer {
  const values = new Map<string, string[]>()
  for (const line of lines(stdout)) {
    const at = line.indexOf('=')
    const key = line.slice(0, at)
    values.set(key, [...(values.get(key) ?? []), line.slice(at + 1)])
  }
  const all = (key: string) => values.get(key) ?? []
  const word = (key: string) => all(key)[0] ?? ''
  return { has: key => values.has(key), word, packed: key => unpacked(word(key)), all }
}

interface WireContainer {
  readonly id: string
  readonly name: string
  readonly service: string | null
  readonly state: string
  readonly health: string
  readonly exitCode: number
  readonly imageId: string
  readonly image: string
  readonly configHash: string | null
  readonly madeFrom: string | null
  readonly networks: Readonly<Record<string, { readonly IPAddress?: string; readonly Aliases?: readonly string[] | null }>> | null
}

interface WireImage {
  readonly id: string
  readonly tags: readonly string[] | null
  readonly digests: readonly string[] | null
  readonly bytes?: number
}

const STATES = [
  'created',
  'running',
  'restarting',
  'paused',
  'exited',
  'dead',
  'removing',
] as const satisfies readonly ContainerState[]
const HEALTHS = ['none', 'starting', 'healthy', 'unhealthy'] as const satisfies readonly ContainerHealth[]

export function fromWireContainer(line: string): StackContainer {
  const wire = JSON.parse(line) as WireContainer
  return {
    id: wire.id,
    name: wire.name.replace(/^\//, ''),
    service: wire.service ?? '',
    state: STATES.find(state => state === wire.state) ?? 'dead',
    health: HEALTHS.find(health => health === wire.health) ?? 'none',
    exitCode: wire.exitCode,
    imageId: wire.imageId,
    image: wire.image,
    configHash: wire.configHash ?? '',
    // Compose names the files that it read, and leaves them out of its hash.
    release: /\/releases\/([^/,]+)\/config\.json$/.exec(wire.madeFrom ?? '')?.[1] ?? '',
    networks: Object.entries(wire.networks ?? {}).map(([network, at]) => ({
      network,
      address: at.IPAddress ?? '',
      aliases: at.Aliases ?? [],
    })),
  }
}

const refsOf = (image: WireImage): readonly string[] => [...(image.tags ?? []), ...(image.digests ?? [])]

/** Docker shortens names of its own hub and reads a missing tag as `latest`. */
const familiar = (ref: string): string => {
  const short = ref.replace(/^(?:docker\.io|index\.docker\.io)\//, '').replace(/^library\//, '')
  return /@|:[^/]+$/.test(short) ? short : `${short}:latest`
}

export function fromWireImages(text: string, asked: readonly string[]): Readonly<Record<string, StackImage>> {
  const images = lines(text).map(line => JSON.parse(line) as WireImage)
  return Object.fromEntries(
    asked.flatMap(ref => {
      const image = images.find(each => each.id === ref || refsOf(each).includes(familiar(ref)))
      return image === undefined ? [] : [[ref, { id: image.id, digests: image.digests ?? [] }]]
    }),
  )
}

export const fromWireImageUse = (line: string, used: ReadonlySet<string>): StackImageUse => {
  const image = JSON.parse(line) as WireImage
  return { id: image.id, refs: refsOf(image), bytes: image.bytes ?? 0, used: used.has(image.id) }
}

const HEALTH_RESULTS = ['healthy', 'starting', 'unhealthy', 'exited', 'gone'] as const

/** Lines of `SERVICE HASH`. */
export const fromWireHashes = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    lines(text).map(line => {
      const [service = '', hash = ''] = line.split(' ')
      return [service, hash]
    }),
  )

export function fromWireHealth(line: string): HealthResult {
  const [id = '', state = '', said = ''] = line.split(' ')
  return { id, state: HEALTH_RESULTS.find(each => each === state) ?? 'gone', said: decoded(said) }
}

export function fromWireSwitch(answer: Answer): SwitchResult {
  const state = answer.word('state')
  return {
    state: state === 'switched' || state === 'refused' ? state : 'stuck',
    workers: answer.all('worker'),
    proof: answer.word('proof') === 'seen' ? 'seen' : 'unasked',
    said: decoded(answer.word('said')),
  }
}
