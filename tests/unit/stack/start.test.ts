import { describe, expect, test } from 'bun:test'
import { systemClock } from '../../../lib/engine/clock.ts'
import type { DockerHost } from '../../../lib/providers/ports/docker.ts'
import { parseResolved } from '../../../lib/stack/resolved.ts'
import { startAll } from '../../../lib/steps/stack-start.ts'
import type { HostView } from '../../../lib/steps/stack-world.ts'

const SERVICES = ['api', 'web', 'jobs'] as const

/** A host on which each step of each service ends when the test says so. */
function hostOf(dependsOn: Readonly<Record<string, unknown>>) {
  const services = Object.fromEntries(
    SERVICES.map(name => [name, { image: `${name}:1`, ...(name in dependsOn ? { depends_on: dependsOn[name] } : {}) }]),
  )
  const begun: string[] = []
  const ends = new Map<string, PromiseWithResolvers<void>>()
  const step = async (what: string): Promise<void> => {
    begun.push(what)
    const ending = Promise.withResolvers<void>()
    ends.set(what, ending)
    await ending.promise
  }
  const docker: Pick<DockerHost, 'start' | 'waitHealthy'> = {
    start: ([id]) => step(`start ${id}`),
    waitHealthy: async ([id = ''], _, signal) => {
      signal.addEventListener('abort', () => ends.get(`wait ${id}`)?.reject(new Error('interrupted')))
      await step(`wait ${id}`)
      return [{ id, state: id === 'bad' ? 'unhealthy' : 'healthy', said: '' }]
    },
  }
  const run = (ids: Readonly<Record<string, string>> = {}) =>
    startAll(
      SERVICES,
      service => [ids[service] ?? service],
      { resolved: parseResolved(JSON.stringify({ services }), 'shop') } as HostView,
      {
        docker: docker as DockerHost,
        roles: { rolled: SERVICES, nginx: 'nginx', fixed: [] },
        clock: systemClock,
        runId: 'run',
        who: 'me@here',
        startMs: 1000,
        drainMs: 1000,
        signal: new AbortController().signal,
        log: () => {},
      },
    )
  const end = async (what: string) => {
    ends.get(what)?.resolve()
    await Bun.sleep(1)
  }
  return { begun, run, end }
}

describe('new containers start', () => {
  test('after those that they depend on have started, and become healthy side by side', async () => {
    const { begun, run, end } = hostOf({ web: { api: { condition: 'service_started' } } })
    const running = run()
    await Bun.sleep(1)
    expect(begun).toEqual(['start api', 'start jobs'])
    await end('start api')
    expect(begun.slice(2).sort()).toEqual(['start web', 'wait api'])
    for (const what of ['start web', 'start jobs', 'wait web', 'wait jobs', 'wait api']) await end(what)
    await running
  })

  test('after those are healthy whose health the Compose file asks for', async () => {
    const { begun, run, end } = hostOf({ web: { api: { condition: 'service_healthy' } } })
    const running = run()
    await Bun.sleep(1)
    await end('start api')
    expect(begun).not.toContain('start web')
    await end('wait api')
    expect(begun).toContain('start web')
    for (const what of ['start web', 'start jobs', 'wait web', 'wait jobs']) await end(what)
    await running
  })

  test('no more when one has failed, and the first failure is the one that is told', async () => {
    const { begun, run, end } = hostOf({ web: { api: { condition: 'service_healthy' } } })
    const failing = run({ api: 'bad' }).catch((error: unknown) => error)
    await Bun.sleep(1)
    for (const what of ['start jobs', 'start bad', 'wait bad']) await end(what)
    expect(String(await failing)).toContain('The new api is unhealthy; the old one goes on serving.')
    expect(begun).not.toContain('start web')
  })
})
