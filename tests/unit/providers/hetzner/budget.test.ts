/** A project whose hourly requests are nearly used up, against a bucket that counts as the vendor's. */

import { expect, test } from 'bun:test'
import { refusal, rig } from './rig.ts'

/** 429 for whoever finds less than one; the header says whole requests only. */
function bucket(left: number, options: { readonly heldMs?: number } = {}) {
  let atMs = 0
  let refused = 0
  const on = rig(
    ({ path, method, query = [] }) => {
      const nowMs = on.clock.monotonicMs()
      left = Math.min(3600, left + (nowMs - atMs) / 1000)
      atMs = nowMs
      if (left < 1) {
        refused += 1
        return refusal(429, 'rate_limit_exceeded')
      }
      left -= 1
      const headers = { 'ratelimit-limit': '3600', 'ratelimit-remaining': String(Math.floor(left)) }
      if (path === '/actions')
        return {
          headers,
          json: { actions: query.map(([, id]) => ({ id: Number(id), command: 'delete_server', status: 'success' })) },
        }
      if (method === 'DELETE')
        return { headers, json: { action: { id: on.sent.length, command: 'delete_server', status: 'running' } } }
      return { headers, json: { networks: [] } }
    },
    // As the lock's guard does: every few writes one waits, and others with it.
    { latencyMs: 80, beforeWrite: () => (on.guarded.length % 7 === 0 ? on.clock.sleep(options.heldMs ?? 0) : Promise.resolve()) },
  )
  return { on, refused: () => refused }
}

test('nothing is refused, and no second of the limit is lost', async () => {
  for (const heldMs of [0, 300, 2_500]) {
    const { on, refused } = bucket(30, { heldMs })
    await Promise.all(Array.from({ length: 8 }, () => on.hetzner.listNetworks()))
    await Promise.all(Array.from({ length: 200 }, (_, n) => on.hetzner.deleteServer(String(n + 1))))
    expect(refused()).toBe(0)
    expect(on.clock.monotonicMs() / 1000).toBeLessThan((on.sent.length - 30) * 1.05 + 5)
    // A question for actions comes full, with 25 ids, or last.
    expect(on.sent.filter(each => each.startsWith('GET /actions')).length).toBeLessThanOrEqual(1.5 * (200 / 25))
    expect(on.log.filter(line => line.includes('wait for the rate limit')).length).toBeGreaterThan(0)
  }
})

test('the lock goes before what waits', async () => {
  const { on } = bucket(10)
  await Promise.all(Array.from({ length: 8 }, () => on.hetzner.listNetworks()))
  const waiting = Promise.all(Array.from({ length: 100 }, (_, n) => on.hetzner.deleteServer(String(n + 1))))
  const askedAtMs = on.clock.monotonicMs()
  await on.hetzner.locks.delete('77')
  expect(on.clock.monotonicMs() - askedAtMs).toBeLessThan(3_000)
  await waiting
})
