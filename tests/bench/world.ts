/**
 * The sandbox's Hetzner in a process of its own, so that what is measured does not share its event loop; without machines, which
 * would take the processor from it. Answers each line of standard input with one of standard output, and ends when the input does.
 */

import { createInterface } from 'node:readline'
import { createRequestLog, serveStandIn } from '../../lib/sandbox/front.ts'
import { createHetznerStandIn } from '../../lib/sandbox/hetzner/standin.ts'
import type { SandboxSettings } from '../../lib/sandbox/kit.ts'
import { openStore } from '../../lib/sandbox/store.ts'

const TOKEN = 'landfall-bench-token-that-opens-nothing-else-0000000000000000000'
const PROJECT = 'bench'
const HOURLY = 3600

const settings: SandboxSettings = { bootMs: 0, dokployStartMs: 0, faults: [], ...JSON.parse(process.argv[2] ?? '{}') }
const store = openStore(':memory:')
const clock = { nowMs: () => Date.now() }
const standIn = createHetznerStandIn({ store, clock, settings: () => settings })
standIn.control.addToken(TOKEN, { project: PROJECT, access: 'read_write' })
standIn.control.setServerLimit(10_000)
const log = createRequestLog(store, () => ({}))
const front = await serveStandIn(standIn, { base: '/v1', clock, settings: () => settings, log })

const buckets = store.collection<{ readonly left: number; readonly atMs: number }>('hetzner.buckets')
const left = (): number => {
  const bucket = buckets.get(PROJECT) ?? { left: HOURLY, atMs: clock.nowMs() }
  return Math.min(HOURLY, bucket.left + (clock.nowMs() - bucket.atMs) / 1000)
}

const answer = (line: string): unknown => {
  const [word, value] = line.split(' ')
  // Other tools of the project have used the rest of the hour's budget.
  if (word === 'left') buckets.put(PROJECT, { left: Number(value), atMs: clock.nowMs() })
  const requests = log.all()
  const { servers, firewalls, networks, keys } = standIn.control.dump(PROJECT)
  return {
    requests: requests.length,
    limited: requests.filter(({ status }) => status === 429).length,
    left: left(),
    servers: servers.filter(({ status }) => status === 'running').length,
    objects: servers.length + firewalls.length + networks.length + keys.length,
  }
}

const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`)
say({ HCLOUD_ENDPOINT: front.url, HCLOUD_TOKEN: TOKEN })
for await (const line of createInterface({ input: process.stdin })) say(answer(line))
await front.close()
