/** The first half of a rollout: new containers beside the old, started unseen until they are healthy. */

import { LandfallError } from '../errors.ts'
import type { HealthResult, ReleaseText, StateText } from '../providers/ports/docker.ts'
import { dependencies } from '../stack/rollout.ts'
import type { RolloutTools } from './stack-rollout.ts'
import type { HostView } from './stack-world.ts'

export const idsOf = (view: HostView, service: string): readonly string[] =>
  view.containers.filter(container => container.service === service).map(({ id }) => id)

export const othersOf = (view: HostView, service: string): readonly string[] => dependencies(service, view.resolved.services)

/** Records the release and the state, and makes the release's containers. @throws unhealthy when Compose made others than were asked for */
export async function createBeside(
  view: HostView,
  services: readonly string[],
  release: ReleaseText,
  state: StateText,
  { docker, log }: RolloutTools,
) {
  const replicas = (service: string) => view.resolved.services[service]?.replicas ?? 1
  log(`making new containers beside the old: ${services.join(', ')}`)
  const made = await docker.createDark(release, state, {
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
 * Starts the new containers in the list's order, each after those that it depends on have started, or are healthy where the Compose
 * file asks for that. Until all are healthy a new one finds only the old ones by name, so the rest start side by side.
 * @throws the first failure, when all have ended
 */
export async function startAll(
  services: readonly string[],
  idsMadeFor: (service: string) => readonly string[],
  view: HostView,
  tools: RolloutTools,
): Promise<void> {
  const failed = new AbortController()
  const its = { ...tools, signal: AbortSignal.any([tools.signal, failed.signal]) }
  const errors: unknown[] = []
  const started = new Map<string, Promise<void>>()
  const healthy = new Map<string, Promise<void>>()
  for (const service of services) {
    const ids = idsMadeFor(service)
    // Switched off, it has none.
    if (ids.length === 0) continue
    const awaits = view.resolved.services[service]?.awaits ?? []
    const needed = othersOf(view, service).flatMap(other => (awaits.includes(other) ? healthy : started).get(other) ?? [])
    const starting = Promise.all(needed).then(() => startService(service, ids, its))
    const waiting = starting.then(() => untilHealthy(service, ids, its))
    started.set(service, starting)
    healthy.set(
      service,
      waiting.catch(error => {
        errors.push(error)
        failed.abort()
        throw error
      }),
    )
  }
  await Promise.allSettled([...started.values(), ...healthy.values()])
  if (errors.length > 0) throw errors[0]
}

async function startService(service: string, ids: readonly string[], { docker, log, signal }: RolloutTools): Promise<void> {
  if (signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
  log(`${service}: starting`)
  await docker.start(ids)
}

async function untilHealthy(
  service: string,
  ids: readonly string[],
  { docker, log, startMs, signal }: RolloutTools,
): Promise<void> {
  log(`${service}: waiting until it is healthy`)
  refuseUnhealthy(service, await docker.waitHealthy(ids, startMs, signal), ids.length)
}

export function refuseUnhealthy(service: string, results: readonly HealthResult[], expected: number): void {
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
