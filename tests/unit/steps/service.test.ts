/** The backend service, told from what its machine says: looks as tables, and what a change waits for. */

import { describe, expect, test } from 'bun:test'
import { World } from '../../../lib/engine/world.ts'
import type { Machines } from '../../../lib/providers/ports/machine.ts'
import { hasService, type ServiceFacts, type ServiceState, serviceStep } from '../../../lib/steps/service.ts'
import { updateSystemStep } from '../../../lib/steps/service-update.ts'
import type { EstateWorld } from '../../../lib/steps/world.ts'
import { load } from '../estate/configs.ts'
import { fakeClock } from '../fake-clock.ts'
import { deps, facts, lookAt, ready, say, server } from './worlds.ts'

const REPOSITORY = 'https://example.com/backend.git'
const estate = load({
  project: 'nextnode',
  hetzner: { location: 'nbg1' },
  dns: { domain: 'nextnode.fr' },
  servers: { backend: { type: 'cx23', os: 'nixos' } },
  service: { repository: REPOSITORY },
})
const spec = estate.servers.find(hasService)
if (!spec) throw new Error('the estate has no service')

const RUNNING: ServiceFacts = {
  settings: 'wanted',
  unit: 'active',
  health: 'healthy',
  caddy: 'active',
  revision: 'a'.repeat(40),
  origin: REPOSITORY,
  previous: '',
  back: '',
  remote: 'a'.repeat(40),
  content: 'abc',
  system: 'backend-hetzner',
}
const present = (change: Partial<ServiceFacts>): ServiceState => ({
  state: 'present',
  facts: { ...RUNNING, ...change },
  outside: 'healthy',
})
const worldOf = (now: ServiceState): Partial<EstateWorld> => ({
  servers: [server('backend')],
  machines: { backend: { ...ready, facts: { ...facts, system: 'nixos', installedBy: 'run-0' } } },
  services: { backend: now },
  serviceSettings: { state: 'known', hash: 'wanted' },
})

describe('the look at the service', () => {
  test.each([
    ['as it should be', {}, 'done revision aaaaaaaaaaaa'],
    ['ending, and still answering', { unit: 'deactivating' }, 'todo wait wait until the service on backend is healthy'],
    ['not answering', { health: 'unhealthy' }, 'todo wait wait until the service on backend is healthy'],
    ['with other settings', { settings: 'other' }, 'todo change write the settings of the service on backend'],
    ['without any', { settings: '', origin: '' }, `todo create clone ${REPOSITORY} (main) on backend and start it`],
    [
      'of another repository',
      { origin: 'https://example.com/old.git' },
      `todo change bring the service on backend to ${REPOSITORY} (main)`,
    ],
  ] as const)('%s', (_what, change, expected) => {
    expect(say(lookAt(serviceStep({ ...deps, estate }, spec), worldOf(present(change))))).toBe(expected)
  })
})

describe('the look at the service without its env file', () => {
  const serviceSettings = { state: 'unknown', why: 'service.env_file: .env is not there', hint: 'Put it there.' } as const
  const REFUSED = 'refused service.env_file: .env is not there.'
  test.each([
    [
      'leaves its settings',
      {},
      'done revision aaaaaaaaaaaa; its settings are not compared (service.env_file: .env is not there)',
    ],
    ['waits as ever', { unit: 'activating' }, 'todo wait wait until the service on backend is healthy'],
    ['has none to write at first', { settings: '', origin: '' }, REFUSED],
    ['has none to write for another repository', { origin: 'https://example.com/old.git' }, REFUSED],
  ] as const)('%s', (_what, change, expected) => {
    const world = { ...worldOf(present(change)), serviceSettings }
    expect(say(lookAt(serviceStep({ ...deps, estate }, spec), world))).toBe(expected)
  })

  test.each([
    ['there is no server', { servers: [], machines: {}, services: {} }, REFUSED],
    ['NixOS is to be installed', { machines: { backend: ready }, services: { backend: { state: 'absent' } } }, REFUSED],
    [
      'the server does not answer',
      { machines: {}, services: {} },
      `blocked system backend | create clone ${REPOSITORY} (main) on backend and start it`,
    ],
  ] as const)('when %s', (_what, change, expected) => {
    const world = { ...worldOf(present({})), serviceSettings, ...change }
    expect(say(lookAt(serviceStep({ ...deps, estate }, spec), world))).toBe(expected)
  })
})

describe('the look at the service’s system', () => {
  const CHANGE = 'todo change build backend-hetzner on backend from the present nixos/ and switch to it'
  test.each([
    ['as it should be', {}, 'done backend-hetzner, sources abc'],
    ['of other sources', { content: 'abd' }, CHANGE],
    ['of another name', { system: 'base-hetzner' }, CHANGE],
    ['of a name that nobody wrote down', { system: '' }, CHANGE],
  ] as const)('%s', (_what, change, expected) => {
    expect(say(lookAt(updateSystemStep({ ...deps, estate }, spec), worldOf(present(change))))).toBe(expected)
  })
})

describe('a change waits', () => {
  /** Applies what a look at a service with other settings wants; the machine says one of `reads` at each look, the last for ever. */
  const apply = async (reads: readonly Partial<ServiceFacts>[]): Promise<number> => {
    let count = 0
    const machines: Pick<Machines, 'run'> = {
      async run(_target, { name }) {
        const read = reads[Math.min(count, reads.length - 1)]
        if (name === 'service-facts') count += 1
        const stdout =
          name === 'service-facts'
            ? Object.entries({ ...RUNNING, ...read }).map(([key, value]) => `${key}=${value}\n`)
            : ['ok=1\n']
        return { exitCode: 0, stdout: stdout.join(''), stderr: '' }
      },
    }
    const names = ['service-facts', 'write-service-settings'].map(name => [name, { name }])
    const step = serviceStep(
      {
        ...deps,
        estate,
        clock: fakeClock(),
        machines: { ...deps.machines, ...machines },
        programs: Object.fromEntries(names),
        serviceVariables: async () => ({ state: 'known', variables: [] }),
      },
      spec,
    )
    const world = worldOf(present({ settings: 'other' }))
    const finding = lookAt(step, world)
    if (finding.state !== 'todo') throw new Error(`there is nothing to do: ${say(finding)}`)
    const live = new World<EstateWorld>(
      Object.fromEntries(Object.entries(world).map(([slice, value]) => [slice, async () => value])) as never,
    )
    await live.look(['servers', 'machines', 'services', 'serviceSettings'])
    for (const change of finding.changes) await change.apply({ world: live, signal: new AbortController().signal, log: () => {} })
    return count
  }

  test('for the new process, not for what the old one still answers', async () => {
    expect(await apply([{ unit: 'deactivating' }, { unit: 'activating', health: 'unhealthy' }, {}])).toBe(3)
  })

  test('not for a repository that does not answer', async () => {
    const nothing = { unit: 'activating', health: 'unhealthy', revision: '', remote: '' } as const
    await expect(apply([nothing])).rejects.toMatchObject({
      message: `backend cannot read the branch main of ${REPOSITORY}.`,
      hint: expect.stringContaining('the repository has to be public'),
    })
  })

  test('through a network that has just come up', async () => {
    const nothing = { unit: 'activating', health: 'unhealthy', revision: '', remote: '' } as const
    expect(await apply([nothing, nothing, nothing, { ...nothing, remote: 'b'.repeat(40) }, {}])).toBe(5)
  })
})
