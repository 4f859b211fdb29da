/** The Compose file as Compose itself resolves it, reduced to what a rollout has to know. Pure. */

import { LandfallError } from '../errors.ts'

export interface ResolvedService {
  readonly name: string
  /** Compose's own name for it where only `build` is given. */
  readonly image: string
  readonly replicas: number
  /** The networks' names at Docker, with the names that the service has in each. */
  readonly aliases: Readonly<Record<string, readonly string[]>>
  readonly hasHealthCheck: boolean
  readonly stopGraceS: number
  readonly dependsOn: readonly string[]
  /** Those of `dependsOn` that have to be more than started before it starts. */
  readonly awaits: readonly string[]
  /** Another one waits until it has ended well: it does its work and ends, as a migration does. */
  readonly ends: boolean
  readonly pullPolicy: string
  /** Why two containers of it cannot run side by side: "it has a fixed container_name". */
  readonly obstacles: readonly string[]
}

export interface Resolved {
  readonly services: Readonly<Record<string, ResolvedService>>
  /** Networks and volumes as text: a change to them is none that a rollout can make. */
  readonly fixtures: string
  readonly value: Readonly<Record<string, unknown>>
}

type Group = Record<string, unknown>
const isGroup = (value: unknown): value is Group => typeof value === 'object' && value !== null && !Array.isArray(value)
const group = (value: unknown): Group => (isGroup(value) ? value : {})
const DEFAULT_GRACE_S = 10

/** @param project Compose's project name @throws config for something that is not Compose's output */
export function parseResolved(json: string, project: string): Resolved {
  const value: unknown = JSON.parse(json)
  if (!isGroup(value) || !isGroup(value.services))
    throw new LandfallError('config', 'Compose’s own view of the stack names no services.', { hint: 'docker compose config' })
  const networks = group(value.networks)
  const ending = new Set(Object.values(value.services).flatMap(raw => endingOf(group(raw).depends_on)))
  const services = Object.entries(value.services).map(([name, raw]) => {
    const service = group(raw)
    const joined = isGroup(service.networks) ? service.networks : { default: null }
    const deploy = group(service.deploy)
    const check = group(service.healthcheck)
    const test = Array.isArray(check.test) ? check.test : []
    const resolved: ResolvedService = {
      name,
      image: typeof service.image === 'string' ? service.image : `${project}-${name}`,
      replicas: numberOr(deploy.replicas, numberOr(service.scale, 1)),
      aliases: Object.fromEntries(
        Object.entries(joined).map(([network, settings]) => {
          const own = group(settings).aliases
          const named = group(networks[network]).name
          const more = Array.isArray(own) ? own.filter(alias => typeof alias === 'string') : []
          return [typeof named === 'string' ? named : `${project}_${network}`, [name, ...more]]
        }),
      ),
      hasHealthCheck: test.length > 0 && test[0] !== 'NONE' && check.disable !== true,
      stopGraceS: parseSeconds(service.stop_grace_period) ?? DEFAULT_GRACE_S,
      dependsOn: Object.keys(group(service.depends_on)),
      awaits: Object.entries(group(service.depends_on))
        .filter(([, how]) => (group(how).condition ?? 'service_started') !== 'service_started')
        .map(([other]) => other),
      ends: ending.has(name),
      obstacles: findObstacles(service),
      pullPolicy: typeof service.pull_policy === 'string' ? service.pull_policy : '',
    }
    return [name, resolved] as const
  })
  return {
    services: Object.fromEntries(services),
    fixtures: JSON.stringify([value.networks ?? {}, value.volumes ?? {}]),
    value,
  }
}

/** Those whose good end is awaited. */
export const endingOf = (dependsOn: unknown): readonly string[] =>
  Object.entries(group(dependsOn)).flatMap(([other, how]) =>
    group(how).condition === 'service_completed_successfully' ? [other] : [],
  )

function findObstacles(service: Group): string[] {
  const ports = Array.isArray(service.ports) ? service.ports.map(group) : []
  const networks = Object.values(group(service.networks)).map(group)
  const mode = service.network_mode
  return [
    ...(typeof service.container_name === 'string' ? [`has the fixed container_name ${service.container_name}`] : []),
    ...(ports.some(port => port.published !== undefined && port.published !== '' && port.published !== '0')
      ? [`publishes port ${ports.map(port => port.published ?? '').join(', ')} of the host`]
      : []),
    ...(typeof mode === 'string' && mode !== '' ? [`uses network_mode ${mode}`] : []),
    ...(networks.some(({ ipv4_address, ipv6_address }) => ipv4_address ?? ipv6_address)
      ? ['has a fixed address in a network']
      : []),
  ]
}

const numberOr = (value: unknown, fallback: number): number => (typeof value === 'number' ? value : fallback)

/** Compose's durations: `1m30s`, `15s`, `500ms`; a bare number is nanoseconds in Compose's own output. */
export function parseSeconds(value: unknown): number | undefined {
  if (typeof value === 'number') return value / 1e9
  if (typeof value !== 'string' || !/^(?:\d+(?:\.\d+)?(?:us|ms|s|m|h))+$/.test(value)) return undefined
  const units = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 } as const
  return [...value.matchAll(/(\d+(?:\.\d+)?)(us|ms|s|m|h)/g)].reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * units[unit as keyof typeof units],
    0,
  )
}

/** The same configuration with other images. */
export function withImages(resolved: Resolved, project: string, images: Readonly<Record<string, string>>): Resolved {
  if (Object.keys(images).length === 0) return resolved
  const services = Object.entries(group(resolved.value.services)).map(([name, raw]) => {
    const image = Object.hasOwn(images, name) ? images[name] : undefined
    return [name, image === undefined ? raw : { ...group(raw), image }]
  })
  return parseResolved(JSON.stringify({ ...resolved.value, services: Object.fromEntries(services) }), project)
}

/** The same services without a word about each other: what a container was made from where its dependencies were left out. */
export const withoutDependencies = ({ value }: Resolved): Readonly<Record<string, unknown>> => ({
  ...value,
  services: Object.fromEntries(
    Object.entries(group(value.services)).map(([name, raw]) => {
      const { depends_on: _, ...rest } = group(raw)
      return [name, rest]
    }),
  ),
})

/** Services in an order in which each comes after what it depends on; `names` keep their order otherwise. */
export function byDependency(
  names: readonly string[],
  services: Readonly<Record<string, Pick<ResolvedService, 'dependsOn'>>>,
): string[] {
  const placed = new Set<string>()
  const visiting = new Set<string>()
  const place = (name: string) => {
    if (placed.has(name) || visiting.has(name)) return
    visiting.add(name)
    for (const needed of services[name]?.dependsOn ?? []) if (names.includes(needed)) place(needed)
    placed.add(name)
  }
  for (const name of names) place(name)
  return [...placed]
}
