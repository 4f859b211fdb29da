/** The ACME client against a real authority (Pebble), proofs by DNS through the sandbox's Cloudflare and resolver; and against our own stand-in. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import { LandfallError } from '../../lib/errors.ts'
import { createAcme } from '../../lib/providers/acme/acme.ts'
import { generateKey } from '../../lib/providers/acme/keys.ts'
import { createCloudflare } from '../../lib/providers/cloudflare/cloudflare.ts'
import type { Acme, AcmeOrder } from '../../lib/providers/ports/acme.ts'
import type { Dns, WantedRecord } from '../../lib/providers/ports/dns.ts'
import { type Sandbox, startSandbox } from '../../lib/sandbox/sandbox.ts'
import { Secret } from '../../lib/secret.ts'
import { type Pebble, startPebble } from './pebble.ts'

const ZONE = 'example.com'
const context = {
  clock: systemClock,
  meter: createMeter(),
  signal: new AbortController().signal,
  random: Math.random,
  log: () => undefined,
  beforeWrite: async () => undefined,
}

let sandbox: Sandbox
let pebble: Pebble
let dns: Dns
let zoneId: string

beforeAll(async () => {
  sandbox = await startSandbox({ seed: { zones: [ZONE], goldenImage: false } })
  pebble = await startPebble(sandbox.ports.resolver)
  dns = createCloudflare({
    token: new Secret('T', sandbox.environment.CLOUDFLARE_API_TOKEN ?? ''),
    endpoint: sandbox.environment.CLOUDFLARE_BASE_URL ?? '',
    context,
  })
  zoneId = (await dns.findZone(ZONE))?.id ?? ''
}, 120_000)

afterAll(async () => {
  await pebble.stop()
  await sandbox.close()
})

const clientAt = (where: 'pebble' | 'stand-in', key = generateKey('account')): Acme =>
  createAcme({
    directory: where === 'pebble' ? pebble.directory : (sandbox.environment.ACME_DIRECTORY_URL ?? ''),
    accountKey: async () => key,
    caPem: pebble.caPem,
    context,
  })

const waitFor = async (acme: Acme, order: AcmeOrder, ...states: AcmeOrder['state'][]): Promise<AcmeOrder> => {
  for (let i = 0; i < 200; i++) {
    const now = await acme.findOrder(order.url)
    if (now && states.includes(now.state)) return now
    await Bun.sleep(50)
  }
  throw new Error(`the order never became ${states.join(' or ')}`)
}

const prove = async (acme: Acme, order: AcmeOrder, change: (value: string) => string = value => value): Promise<void> => {
  const posts = order.challenges.map(
    (each): WantedRecord => ({
      name: each.recordName,
      type: 'TXT',
      content: change(each.recordValue),
      ttl: 60,
      proxied: false,
      comment: '',
    }),
  )
  await dns.changeRecords(zoneId, { deletes: [], patches: [], posts })
  sandbox.controls.dns.flush()
  for (const challenge of order.challenges) await acme.answerChallenge(challenge)
}

for (const where of ['pebble', 'stand-in'] as const)
  describe(where === 'pebble' ? 'at a real authority' : 'at our stand-in', () => {
    test('a certificate for several names, from the account to the chain', async () => {
      const acme = clientAt(where)
      await acme.openAccount('admin@example.com')
      const names = [ZONE, 'www.example.com', 'api.example.com']
      const order = await acme.createOrder(names)
      expect(order).toMatchObject({ state: 'pending', names: [...names].sort() })
      await prove(acme, order)
      const ready = await waitFor(acme, order, 'ready', 'invalid')
      expect(ready.state).toBe('ready')
      const key = generateKey('certificate')
      await acme.finalizeOrder(ready, key)
      const pem = await acme.downloadCertificate(await waitFor(acme, ready, 'valid'))
      const leaf = new X509Certificate(pem)
      for (const name of names) expect(leaf.checkHost(name)).toBe(name)
      expect(leaf.checkHost('other.example.com')).toBeUndefined()
      const { createPrivateKey } = await import('node:crypto')
      expect(leaf.checkPrivateKey(createPrivateKey(key.reveal()))).toBe(true)
    })

    test('an account is found again by its key', async () => {
      const key = generateKey('account')
      const first = await clientAt(where, key).openAccount('admin@example.com')
      expect(await clientAt(where, key).openAccount('admin@example.com')).toEqual(first)
    })

    test('an order is found again by another process with the same key, and not by a stranger', async () => {
      const key = generateKey('account')
      const acme = clientAt(where, key)
      await acme.openAccount('admin@example.com')
      const order = await acme.createOrder(['resumed.example.com'])
      const later = clientAt(where, key)
      await later.openAccount('admin@example.com')
      expect((await later.findOrder(order.url))?.challenges.map(each => each.recordValue)).toEqual(
        order.challenges.map(each => each.recordValue),
      )
      const stranger = clientAt(where)
      await stranger.openAccount('b@example.com')
      if (where === 'stand-in') expect(await stranger.findOrder(order.url)).toBeUndefined()
    })

    test('a wrong proof makes the order invalid, and the authority’s words come through', async () => {
      const acme = clientAt(where)
      await acme.openAccount('admin@example.com')
      const order = await acme.createOrder(['wrong.example.com'])
      await prove(acme, order, () => 'not the proof')
      const ended = await waitFor(acme, order, 'invalid')
      expect(ended.why).toMatch(/TXT|DNS challenge/)
      expect(ended.challenges[0]?.state).toBe('invalid')
    })

    test('a name that no authority takes is refused with its code', async () => {
      const acme = clientAt(where)
      await acme.openAccount('admin@example.com')
      const failure = await acme.createOrder([]).then(
        () => undefined,
        (error: unknown) => error,
      )
      expect(failure).toBeInstanceOf(LandfallError)
      expect(failure instanceof LandfallError && failure.vendorCode).toBe('malformed')
    })
  })

test('the stand-in’s limit on the same names is a limit, and nothing is asked again by itself', async () => {
  const acme = clientAt('stand-in')
  await acme.openAccount('admin@example.com')
  const name = 'limited.example.com'
  const issue = async () => {
    const order = await acme.createOrder([name])
    if (order.state === 'pending') {
      const old = (await dns.listRecords(zoneId)).filter(record => record.name === `_acme-challenge.${name}`)
      if (old.length > 0) await dns.changeRecords(zoneId, { deletes: old.map(({ id }) => ({ id })), patches: [], posts: [] })
      await prove(acme, order)
    }
    const ready = await waitFor(acme, order, 'ready')
    await acme.finalizeOrder(ready, generateKey('certificate'))
  }
  for (let i = 0; i < 5; i++) await issue()
  const before = sandbox.requests().length
  const failure = await acme.createOrder([name]).catch((error: unknown) => error)
  expect(failure instanceof LandfallError && failure.code).toBe('rate_limited')
  expect(sandbox.requests().length - before).toBeLessThanOrEqual(1)
})
