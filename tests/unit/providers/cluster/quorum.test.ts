/** How the servers of Consul and Nomad are, as autopilot tells it: with the status 429 where one of them is unwell. */

import { afterAll, expect, test } from 'bun:test'
import { createMeter } from '../../../../lib/engine/meter.ts'
import { createConsul } from '../../../../lib/providers/cluster/consul.ts'
import { createNomad } from '../../../../lib/providers/cluster/nomad.ts'
import { fakeClock } from '../../fake-clock.ts'

const server = (name: string, change: Readonly<Record<string, unknown>> = {}) => ({
  Name: name,
  SerfStatus: 'alive',
  Healthy: true,
  Voter: true,
  ...change,
})

let answer: () => Response = () => Response.json({})
const stub = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: request => (new URL(request.url).pathname === '/v1/status/leader' ? Response.json('172.16.0.2:8300') : answer()),
})
afterAll(() => stub.stop(true))

const options = {
  baseUrl: stub.url.origin,
  context: {
    clock: fakeClock(),
    meter: createMeter(),
    signal: new AbortController().signal,
    random: Math.random,
    log: () => undefined,
    beforeWrite: async () => undefined,
  },
}

test('a server that is unwell is named, and the others count', async () => {
  const servers = (suffix: string) => [
    server(`node${suffix}`),
    server(`node-2${suffix}`, { Healthy: false }),
    server(`node-3${suffix}`, { Healthy: false, SerfStatus: 'failed' }),
    server(`node-4${suffix}`, { Voter: false }),
  ]
  const found = { state: 'formed', voters: ['node', 'node-2'], size: 3, healthy: false, failed: ['node-2', 'node-3'] } as const
  answer = () => Response.json({ Healthy: false, Servers: servers('') }, { status: 429 })
  expect(await createConsul(options).quorum()).toEqual(found)
  answer = () => Response.json({ Healthy: false, Servers: servers('.global') }, { status: 429 })
  expect(await createNomad(options).quorum()).toEqual(found)
})

test('a limit on requests is not taken for servers', async () => {
  answer = () => new Response('rate limit exceeded, try again later', { status: 429 })
  await expect(createConsul(options).quorum()).rejects.toMatchObject({ code: 'rate_limited' })
})
