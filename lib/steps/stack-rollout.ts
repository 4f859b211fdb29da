/**
 * Carries out a rollout on one host: new beside old, healthy before visible, the proxy turned to them, the old ones drained and
 * removed by id. Before each stage the stage is on the host's disk, so whoever comes after a crash knows which side serves.
 */

import type { Clock } from '../engine/clock.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { DockerHost, HealthResult } from '../providers/ports/docker.ts'
import {
  type FileText,
  type HistoryEntry,
  type Manifest,
  type Rollout,
  type StackState,
  withoutRollout,
  withRelease,
} from '../stack/model.ts'
import { addressesFor, dependencies, filesDigest, freshOf, oldOf, type Roles, type SeenContainer } from '../stack/rollout.ts'
import { renderUpstreams, servicesServed } from '../stack/upstream.ts'
import { type HostView, lookWith } from './stack-world.ts'

export interface RolloutTools {
  readonly docker: DockerHost
  readonly roles: Roles
  readonly clock: Clock
  readonly runId: string
  /** user@host, for the manifest. */
  readonly who: string
  /** How long a new container may take until it is healthy. */
  readonly startMs: number
  /** How long requests that are under way may take to end. */
  readonly drainMs: number
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

export const manifestOf = (view: HostView, id: string, { clock, who }: Pick<RolloutTools, 'clock' | 'who'>): Manifest => ({
  id,
  atMs: clock.nowMs(),
  by: who,
  fixtures: view.resolved.fixtures,
  services: Object.fromEntries(
    Object.values(view.resolved.services).map(({ name, image }) => {
      const found = view.images[image]
      return [name, { image, imageId: found?.id ?? '', hash: view.hashes[name] ?? '', digests: found?.digests ?? [] }]
    }),
  ),
})

/** Writes the release to the host; it is not yet what runs. */
export async function recordRelease(view: HostView, id: string, tools: RolloutTools): Promise<void> {
  await tools.docker.record(id, JSON.stringify(view.resolved.value), JSON.stringify(manifestOf(view, id, tools)))
}

const save = ({ docker }: RolloutTools, state: StackState): Promise<void> =>
  docker.setState(JSON.stringify(state), [
    ...state.history.map(({ id }) => id),
    ...(state.rollout ? [state.rollout.release] : []),
  ])

export const entryOf = (view: HostView, id: string, { clock }: Pick<RolloutTools, 'clock'>): HistoryEntry => ({
  id,
  atMs: clock.nowMs(),
  kind: view.target === undefined ? 'deploy' : 'rollback',
  nginx: filesDigest(view.wantedNginxFiles),
})

export const saveRelease = (view: HostView, id: string, tools: RolloutTools): Promise<void> =>
  save(tools, withRelease(view.state, entryOf(view, id, tools)))

/** @throws LandfallError unhealthy when the new release does not come up; then the old one serves as before */
export async function rollOut(view: HostView, id: string, services: readonly string[], tools: RolloutTools): Promise<void> {
  const { docker, log } = tools
  const old = Object.fromEntries(services.map(service => [service, idsOf(view, service)]))
  const begun: Rollout = {
    release: id,
    run: tools.runId,
    phase: 'starting',
    old,
    rest: view.wantedNginxFiles,
    restBefore: view.nginxFiles,
  }
  await recordRelease(view, id, tools)
  await save(tools, { ...view.state, rollout: begun })
  let rollout = begun
  const enter = async (phase: Rollout['phase']) => {
    rollout = { ...rollout, phase }
    await save(tools, { ...view.state, rollout })
  }
  try {
    const made = await createBeside(view, id, services, tools)
    const idsMadeFor = (service: string) => made.filter(each => each.service === service).map(each => each.id)
    await startAll(services, idsMadeFor, view, tools)
    await enter('switching')
    log('giving the new containers their names')
    const named = made.map(each => ({ id: each.id, aliases: view.resolved.services[each.service]?.aliases ?? {} }))
    const healths = await docker.publish(named, tools.startMs)
    for (const service of services) {
      const ids = idsMadeFor(service)
      refuseUnhealthy(
        service,
        healths.filter(health => ids.includes(health.id)),
        ids.length,
      )
    }
    const seen = await docker.inspect([...made.map(each => each.id), ...idsOf(view, tools.roles.nginx)])
    const workers = await turnTo(freshOf(rollout, seen), seen, rollout.rest, rollout, tools)
    await enter('draining')
    await drain(workers, tools)
  } catch (error) {
    if (rollout.phase === 'draining' || hasCode(error, 'locked')) throw error
    log('taking it back: the old containers go on serving')
    const after = { ...rollout, phase: rollout.phase === 'starting' ? ('starting' as const) : ('reverting' as const) }
    await takeBack(after, view, tools).catch(failure => {
      throw new LandfallError('unhealthy', `${sentence(error)} Taking it back did not end either: ${sentence(failure)}`, {
        hint: 'The old containers still serve. Run the same command again: it finishes what was left.',
        cause: error,
      })
    })
    throw error
  }
  await removeOld(rollout, view, tools)
  await restoreNames(rollout.rest, tools)
  await save(tools, withRelease(view.state, entryOf(view, id, tools)))
}

/** Ends what an earlier run left: forward when the new containers served already, back otherwise. */
export async function finishRollout(rollout: Rollout, view: HostView, tools: RolloutTools): Promise<void> {
  const { docker } = tools
  const lost = Object.keys(rollout.old).filter(
    service => !freshOf(rollout, view.containers).some(each => each.service === service),
  )
  // Somebody removed them meanwhile, and the old ones may be gone too.
  for (const service of lost)
    await docker.up(rollout.release, { service, others: othersOf(view, service), recreate: false, alone: false }, tools.startMs)
  const containers = await containersNow(view, docker)
  const workers = await turnTo(freshOf(rollout, containers), containers, rollout.rest, rollout, tools)
  await drain(workers, tools)
  await removeOld(rollout, view, tools)
  await restoreNames(rollout.rest, tools)
  const known = view.manifests.some(({ id }) => id === rollout.release)
  const entry: HistoryEntry = {
    id: rollout.release,
    atMs: tools.clock.nowMs(),
    kind: view.state.history.some(({ id }) => id === rollout.release) ? 'rollback' : 'deploy',
    nginx: filesDigest(rollout.rest),
  }
  await save(tools, known ? withRelease(view.state, entry) : withoutRollout(view.state))
}

/** Back to the old containers. Before the switch nothing refers to the new ones, so they just go. */
export async function takeBack(rollout: Rollout, view: HostView, tools: RolloutTools): Promise<void> {
  const { docker } = tools
  const containers = await containersNow(view, docker)
  const fresh = freshOf(rollout, containers)
  if (rollout.phase !== 'starting') {
    await save(tools, { ...view.state, rollout: { ...rollout, phase: 'reverting' } })
    const workers = await turnTo(oldOf(rollout, containers), containers, rollout.restBefore, rollout, tools)
    await drain(workers, tools)
  }
  await docker.remove(
    fresh.map(({ id }) => id),
    graceOf(view, Object.keys(rollout.old)),
  )
  if (rollout.phase !== 'starting') await restoreNames(rollout.restBefore, tools)
  await save(tools, withoutRollout(view.state))
}

/** What was begun on a host is ended or taken back there, also after Ctrl-C. */
const NEVER = new AbortController().signal

const containersNow = async (view: HostView, docker: DockerHost): Promise<readonly SeenContainer[]> =>
  (await lookWith(docker, view.resolved, [], NEVER)).containers

async function createBeside(view: HostView, id: string, services: readonly string[], { docker, log }: RolloutTools) {
  const replicas = (service: string) => view.resolved.services[service]?.replicas ?? 1
  log(`making new containers beside the old: ${services.join(', ')}`)
  const made = await docker.createDark(id, {
    services: Object.fromEntries(services.map(service => [service, replicas(service)])),
    others: [...new Set(services.flatMap(service => othersOf(view, service)))].filter(name => !services.includes(name)),
    known: services.flatMap(service => idsOf(view, service)),
  })
  for (const service of services) {
    const count = made.filter(each => each.service === service).length
    if (count !== replicas(service))
      throw new LandfallError(
        'unhealthy',
        `Compose made ${count} new containers of ${service} instead of ${replicas(service)}.`,
        {
          hint: 'Run the same command again; look at the containers with: docker ps -a',
        },
      )
  }
  return made
}

/**
 * Starts the new containers in the list's order. A service waits until those that it depends on are healthy; services that do not
 * depend on each other start side by side, which takes the time of the slowest instead of the sum.
 * @throws the first failure, when all have ended
 */
async function startAll(
  services: readonly string[],
  idsMadeFor: (service: string) => readonly string[],
  view: HostView,
  tools: RolloutTools,
): Promise<void> {
  const failed = new AbortController()
  const signal = AbortSignal.any([tools.signal, failed.signal])
  const starting = new Map<string, Promise<void>>()
  const errors: unknown[] = []
  for (const service of services) {
    const needed = othersOf(view, service).flatMap(other => starting.get(other) ?? [])
    const started = Promise.all(needed).then(() => startService(service, idsMadeFor(service), { ...tools, signal }))
    starting.set(
      service,
      started.catch(error => {
        errors.push(error)
        failed.abort()
        throw error
      }),
    )
  }
  await Promise.allSettled(starting.values())
  if (errors.length > 0) throw errors[0]
}

async function startService(
  service: string,
  ids: readonly string[],
  { docker, log, startMs, signal }: RolloutTools,
): Promise<void> {
  if (signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
  log(`${service}: starting`)
  await docker.start(ids)
  log(`${service}: waiting until it is healthy`)
  refuseUnhealthy(service, await docker.waitHealthy(ids, startMs, signal), ids.length)
}

function refuseUnhealthy(service: string, results: readonly HealthResult[], expected: number): void {
  const bad = results.find(({ state }) => state !== 'healthy')
  if (!bad && results.length >= expected) return
  const how = {
    healthy: 'is missing',
    starting: 'did not become healthy in time',
    unhealthy: 'is unhealthy',
    exited: 'ended or was restarted',
    gone: 'vanished',
  }
  const said = bad?.said.trim() ? ` Its last words: ${bad.said.trim().slice(-1500)}` : ''
  throw new LandfallError(
    'unhealthy',
    `The new ${service} ${how[bad?.state ?? 'healthy']}; the old one goes on serving.${said}`,
    {
      hint: `Correct the image or its configuration and deploy again. Its health check is in the Compose file, below ${service}.`,
    },
  )
}

/** Turns the proxy to exactly the `wanted`, by address. Answers with the workers that still finish requests elsewhere. */
async function turnTo(
  wanted: readonly SeenContainer[],
  seen: readonly SeenContainer[],
  rest: readonly FileText[],
  rollout: Rollout,
  tools: RolloutTools,
): Promise<readonly string[]> {
  const services = Object.keys(rollout.old).filter(service => wanted.some(container => container.service === service))
  if (servicesServed(rest, services).size === 0) return []
  const proxies = seen.filter(({ service }) => service === tools.roles.nginx)
  const networks = proxies.flatMap(container => container.networks.map(({ network }) => network))
  const rendered = renderUpstreams(rest, addressesFor(services, wanted, networks), rollout.release)
  const files = rest.map(file => rendered.files.find(({ path }) => path === file.path) ?? file)
  tools.log(`${tools.roles.nginx}: switching ${services.join(', ')}`)
  const result = await tools.docker.switchNginx({ files, proof: rendered.proof })
  if (result.state === 'switched') return result.workers
  const why = result.state === 'refused' ? 'did not accept its new configuration' : 'did not take its new configuration up'
  throw new LandfallError('unhealthy', `${tools.roles.nginx} ${why}, so the old release goes on serving: ${result.said.trim()}`, {
    hint: 'Correct its configuration; check it with: bun scripts/stack.ts audit',
  })
}

async function drain(workers: readonly string[], { docker, drainMs, log }: RolloutTools): Promise<void> {
  if (workers.length === 0) return
  log('waiting until requests under way have ended')
  if (!(await docker.drain(workers, drainMs)))
    log(`some requests lasted longer than ${Math.round(drainMs / 1000)} s; they are cut`)
}

async function removeOld(rollout: Rollout, view: HostView, { docker, log }: RolloutTools): Promise<void> {
  const ids = Object.values(rollout.old).flat()
  if (ids.length === 0) return
  log('stopping the old containers')
  await docker.remove(ids, graceOf(view, Object.keys(rollout.old)))
}

/** Names instead of addresses, which do not survive a reboot of the host. */
async function restoreNames(rest: readonly FileText[], { docker, roles, log }: RolloutTools): Promise<void> {
  if (rest.length === 0) return
  log(`${roles.nginx}: back to names, so that a reboot finds everything`)
  const result = await docker.switchNginx({ files: rest })
  if (result.state !== 'switched')
    throw new LandfallError('unhealthy', `${roles.nginx} serves, but did not take its names up again: ${result.said.trim()}`, {
      hint: 'Run the same command again: it finishes what was left.',
    })
}

const idsOf = (view: HostView, service: string): readonly string[] =>
  view.containers.filter(container => container.service === service).map(({ id }) => id)

export const othersOf = (view: HostView, service: string): readonly string[] => dependencies(service, view.resolved.services)

const graceOf = (view: HostView, services: readonly string[]): number =>
  Math.max(...services.map(service => view.resolved.services[service]?.stopGraceS ?? 10))

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error))
