/** The backend service on its NixOS server: its settings are written, it is healthy, and visitors reach it through Caddy. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { renderServiceSettings, type ServiceSettings } from '../estate/service-settings.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import type { Deps, EstateStep } from './deps.ts'
import { type MachineState, parseFactLines, runProgram, targetOf } from './machine.ts'
import { readyStep } from './nixos.ts'
import { findServer } from './server.ts'
import { runUpdate, serviceUpdate } from './update-unit.ts'
import type { EstateWorld } from './world.ts'

export interface ServiceFacts {
  /** Hash of the settings on the machine; empty when there are none. */
  readonly settings: string
  readonly unit: string
  readonly health: 'healthy' | 'unhealthy'
  readonly caddy: string
  /** Commits; empty when not known. */
  readonly revision: string
  /** The repository whose code is in force; empty before the clone. */
  readonly origin: string
  readonly previous: string
  /** Where a rollback leads, which is where it has led already when nothing else came into force since. */
  readonly back: string
  readonly remote: string
  /** What the system was built from. */
  readonly content: string
  /** Its name there; empty where nobody wrote it down. */
  readonly system: string
}

export type ServiceState =
  /** Not yet a NixOS of ours, or not reachable. */
  | { readonly state: 'absent' }
  | {
      readonly state: 'present'
      readonly facts: ServiceFacts
      /** How https://host answers: "healthy", or why not. */
      readonly outside: string
    }

/** What the config wants written. */
export type WantedSettings =
  | { readonly state: 'known'; readonly hash: string }
  /** Not all of it is here; `why` is a part of a sentence. */
  | { readonly state: 'unknown'; readonly why: string; readonly hint: string }

export interface ServiceReader {
  wanted(): Promise<WantedSettings>
  read(spec: ServerSpec, server: Server, machine: MachineState | undefined): Promise<ServiceState>
}

type ServiceDeps = Pick<Deps, 'estate' | 'machines' | 'programs' | 'clock' | 'outside' | 'serviceVariables'>
export type ServiceServer = ServerSpec & Required<Pick<ServerSpec, 'service'>>

export const hasService = (spec: ServerSpec): spec is ServiceServer => spec.service !== undefined

/** What is to be written. @throws LandfallError config when the env file is missing or cannot be used */
export async function settingsOf(
  deps: Pick<ServiceDeps, 'serviceVariables'>,
  { service }: ServiceServer,
): Promise<ServiceSettings> {
  const read = await deps.serviceVariables()
  if (read.state === 'missing') throw new LandfallError('config', `${read.why}.`, { hint: read.hint })
  return renderServiceSettings(service, read.variables)
}

/** @throws as `runProgram` */
export async function readService(deps: Pick<ServiceDeps, 'machines' | 'programs'>, target: Target): Promise<ServiceFacts> {
  const facts = parseFactLines(await runProgram(deps, target, 'service-facts'))
  const text = (name: string) => facts[name] ?? ''
  return {
    settings: text('settings'),
    unit: text('unit'),
    health: facts.health === 'healthy' ? 'healthy' : 'unhealthy',
    caddy: text('caddy'),
    revision: text('revision'),
    origin: text('origin'),
    previous: text('previous'),
    back: text('back'),
    remote: text('remote'),
    content: text('content'),
    system: text('system'),
  }
}

/** @returns "healthy", or a sentence's part on why not */
async function readOutside(
  { outside }: Pick<ServiceDeps, 'outside'>,
  { service }: ServiceServer,
  address: string,
): Promise<string> {
  const tls = await outside.readTls(service.host, address)
  if (tls.state !== 'trusted') return `no trusted certificate${tls.why ? ` (${tls.why})` : ''}`
  try {
    const { status } = await outside.fetchPage(`https://${service.host}${service.health}`, { address })
    return status < 400 ? 'healthy' : `HTTP ${status}`
  } catch (error) {
    if (error instanceof LandfallError && (error.code === 'network' || error.code === 'timeout')) return 'no answer'
    throw error
  }
}

export function createServiceReader(deps: ServiceDeps): ServiceReader {
  return {
    async wanted() {
      const spec = deps.estate.servers.find(hasService)
      const read = spec && (await deps.serviceVariables())
      if (read?.state === 'missing') return { state: 'unknown', why: read.why, hint: read.hint }
      return { state: 'known', hash: spec && read ? renderServiceSettings(spec.service, read.variables).hash : '' }
    },
    async read(spec, server, machine) {
      // One that shows the next key is not spoken to before that key is pinned.
      if (!hasService(spec) || machine?.state !== 'ready' || machine.trust !== 'pinned') return { state: 'absent' }
      if (machine.facts.system !== 'nixos' || machine.facts.installedBy === '') return { state: 'absent' }
      const target = targetOf(deps.estate.name, server)
      if (!target) return { state: 'absent' }
      const [facts, outside] = await Promise.all([readService(deps, target), readOutside(deps, spec, target.address)])
      return { state: 'present', facts, outside }
    },
  }
}

/** The machine as it is reached now. @throws not_found */
export function serviceTarget(deps: Pick<ServiceDeps, 'estate'>, spec: ServerSpec, world: WorldView<EstateWorld>): Target {
  const server = findServer(deps.estate.name, spec.name, world.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (!target) throw new LandfallError('not_found', `${spec.name} has no address or no recorded host key.`)
  return target
}

/** A first start clones the repository and builds its environment. */
const START_TIMEOUT_MS = 60 * 60_000
const VISITORS_TIMEOUT_MS = 10 * 60_000
const POLL_MS = 2_000
/** One alone may be a network that has just come up. */
const UNCLONABLE_READS = 10

export const shortRevision = (revision: string): string => revision.slice(0, 12) || 'none'

/** A process that is about to end still answers for a while. */
const runs = ({ unit, health }: ServiceFacts): boolean => unit === 'active' && health === 'healthy'

/** The repository or its branch does not answer to the machine. */
export const unreadable = ({ name, service }: Pick<ServiceServer, 'name' | 'service'>): { why: string; hint: string } => ({
  why: `${name} cannot read the branch ${service.branch} of ${service.repository}.`,
  hint: 'Look at service.repository and service.branch in config.json; the repository has to be public.',
})

/** The service has the config's settings, and is healthy on its machine. */
export function serviceStep(deps: ServiceDeps, spec: ServiceServer): EstateStep {
  const { service } = spec
  const write = { kind: 'change', summary: `write the settings of the service on ${spec.name}` } as const
  const wait = { kind: 'wait', summary: `wait until the service on ${spec.name} is healthy` } as const
  const first = {
    kind: 'create',
    summary: `clone ${service.repository} (${service.branch}) on ${spec.name} and start it`,
  } as const
  const move = {
    kind: 'change',
    summary: `bring the service on ${spec.name} to ${service.repository} (${service.branch})`,
  } as const
  return {
    id: `service ${spec.name}`,
    noun: 'service',
    title: `the service on ${spec.name} is healthy`,
    needs: [readyStep(spec)],
    reads: ['servers', 'machines', 'services', 'serviceSettings'],
    typicalMs: 180_000,
    look(world) {
      const now = world.get('services')[spec.name]
      const machine = world.get('machines')[spec.name]
      const wanted = world.get('serviceSettings')
      const isOther = machine?.state === 'ready' && machine.facts.system !== 'nixos'
      // Before the first write, not after an installation.
      if (wanted.state === 'unknown' && (isOther || !findServer(deps.estate.name, spec.name, world.get('servers'))))
        return refused(`${wanted.why}.`, wanted.hint)
      if (machine?.state !== 'ready' || isOther) return blocked(`system ${spec.name}`, first)
      const facts = now?.state === 'present' ? now.facts : undefined
      const moves = facts !== undefined && facts.origin !== '' && facts.origin !== service.repository
      const isFirst = !facts || facts.settings === ''
      if (wanted.state === 'unknown' && (isFirst || moves)) return refused(`${wanted.why}.`, wanted.hint)
      const written = wanted.state === 'unknown' || facts?.settings === wanted.hash
      if (written && !moves && facts && runs(facts)) {
        const compared = wanted.state === 'known' ? '' : `; its settings are not compared (${wanted.why})`
        return done(`revision ${shortRevision(facts.revision)}${compared}`)
      }
      return todo({
        ...(moves
          ? { ...move, details: [`from ${facts.origin}; when it is not healthy there, the revision before comes back`] }
          : written
            ? wait
            : isFirst
              ? first
              : write),
        async apply({ world: live, signal, log }) {
          const target = serviceTarget(deps, spec, live)
          if (!written) {
            const { settings, variables, hash } = await settingsOf(deps, spec)
            const values = { SETTINGS: settings, VARIABLES: new Secret('service variables', variables, 'unlisted') }
            await runProgram(deps, target, 'write-service-settings', { ...values, HASH: hash }, signal)
            live.update('serviceSettings', () => ({ state: 'known', hash }))
          }
          if (moves) await runUpdate(deps, target, { ...serviceUpdate(service), signal, log })
          const healthy = await awaitHealthy(deps, spec, target, signal, log)
          live.update('services', all => ({
            ...all,
            [spec.name]: { state: 'present', facts: healthy, outside: 'not looked at yet' },
          }))
        },
      })
    },
  }
}

async function awaitHealthy(
  deps: ServiceDeps,
  { name, service }: ServiceServer,
  target: Target,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<ServiceFacts> {
  const deadlineMs = deps.clock.monotonicMs() + START_TIMEOUT_MS
  const hint = 'Its log says why: bun scripts/service.ts logs'
  for (let unclonable = 0; ; ) {
    const facts = await readService(deps, target)
    if (runs(facts)) return facts
    unclonable = facts.revision === '' && facts.remote === '' ? unclonable + 1 : 0
    if (unclonable >= UNCLONABLE_READS) {
      const { why, hint } = unreadable({ name, service })
      throw new LandfallError('not_found', why, { hint })
    }
    if (facts.unit === 'failed') throw new LandfallError('unhealthy', `The service on ${name} has failed.`, { hint })
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `The service on ${name} did not answer at 127.0.0.1:${service.port}${service.health} within ${START_TIMEOUT_MS / 60_000} minutes.`,
        { hint },
      )
    log(`the service is ${facts.unit}`)
    await deps.clock.sleep(POLL_MS, signal)
  }
}

/** Visitors reach the service under its name. */
export function serviceNameStep(deps: ServiceDeps, spec: ServiceServer): EstateStep {
  const { host } = spec.service
  const look = { kind: 'wait', summary: `look at https://${host} from outside` } as const
  return {
    id: `service name ${host}`,
    noun: 'service',
    title: `visitors reach https://${host}`,
    needs: [`service ${spec.name}`, `dns ${host}`],
    reads: ['servers', 'services'],
    typicalMs: 30_000,
    look(world) {
      const now = world.get('services')[spec.name]
      if (now?.state !== 'present' || now.facts.health !== 'healthy') return blocked(`service ${spec.name}`, look)
      if (now.outside === 'healthy') return done('trusted certificate, healthy')
      return todo({
        ...look,
        apply: ({ world: live, signal, log }) => awaitVisitors(deps, spec, { live, signal, log }),
      })
    },
  }
}

interface Waiting {
  readonly live: World<EstateWorld>
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

async function awaitVisitors(deps: ServiceDeps, spec: ServiceServer, { live, signal, log }: Waiting): Promise<void> {
  const { host, health } = spec.service
  const { address } = serviceTarget(deps, spec, live)
  const deadlineMs = deps.clock.monotonicMs() + VISITORS_TIMEOUT_MS
  for (;;) {
    const outside = await readOutside(deps, spec, address)
    if (outside === 'healthy') {
      live.update('services', all => {
        const now = all[spec.name]
        return now?.state === 'present' ? { ...all, [spec.name]: { ...now, outside } } : all
      })
      return
    }
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError('unhealthy', `Seen from outside, https://${host}${health} has ${outside}.`, {
        hint: 'Caddy orders the certificate over port 80, to which the name has to lead: bun scripts/dns.ts',
      })
    log(`https://${host}: ${outside}`)
    await deps.clock.sleep(POLL_MS, signal)
  }
}

/** Refused where there is nothing yet that could be updated. */
export const notThere = (spec: ServerSpec) =>
  refused(`The service does not run on ${spec.name} yet.`, 'Set it up first: bun scripts/service.ts')
