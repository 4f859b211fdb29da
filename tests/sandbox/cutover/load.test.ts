/** Visitors while names move and come back: real web servers, certificates of a real authority, caches of every habit; nobody is turned away. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { type Load, type LoadPlace, openLoadPlace, outliveAnswers, startLoad, summaryOf } from './load.ts'
import { APEX, CUTOVER, movedIn, OLD, othersIn } from './place.ts'

const RATE_PER_S = 200
const CLIENTS = 60

let load: Load
let around: LoadPlace

const bad = ({ failed, tlsErrors, nxdomain, samples }: ReturnType<Load['counts']>) => ({ failed, tlsErrors, nxdomain, samples })
const NOTHING = { failed: 0, tlsErrors: 0, nxdomain: 0, samples: [] }

beforeAll(async () => {
  around = await openLoadPlace()
  load = startLoad(around.place.sandbox, { caPem: around.caPem, sites: around.sites, ratePerS: RATE_PER_S, clients: CLIENTS })
  await load.more(RATE_PER_S)
}, 180_000)

afterAll(async () => {
  await load?.stop()
  await around?.close()
})

describe(`under ${RATE_PER_S} requests per second`, () => {
  test('cutover: nobody fails, and when it says that old answers are gone, the old host can be switched off', async () => {
    const { place, env, oldHost } = around
    const others = othersIn(place.sandbox)
    const cut = await place.run(CUTOVER, { env, timeoutMs: 60_000 })
    expect(`${cut.code} ${cut.code === 0 ? '' : cut.output}`).toBe('0 ')
    await oldHost.stop()
    const { atOld } = load.counts()
    await load.more(3 * RATE_PER_S)
    expect(bad(load.counts())).toEqual(NOTHING)
    // What was under way when the old host went may still have been counted.
    expect(load.counts().atOld - atOld).toBeLessThan(RATE_PER_S)
    expect(load.counts().atNew).toBeGreaterThan(RATE_PER_S)
    expect(othersIn(place.sandbox)).toBe(others)
    process.stderr.write(`cutover under load: ${summaryOf(load.counts())}\n`)
  }, 120_000)

  test('the certificate that they met is from the real authority', () => {
    const given = around.place.sandbox.controls.machines.dokploy('frontend-dokploy').givenCertificate(APEX)
    expect(new X509Certificate(given?.cert ?? '').issuer).toContain('Pebble')
  })

  test('rollback: nobody fails, and when answers of the new place are gone, nobody goes there', async () => {
    const { place, env, oldHost } = around
    await oldHost.start()
    const down = { ...env, HCLOUD_ENDPOINT: 'http://127.0.0.1:9/v1' }
    const back = await place.run('dns rollback --yes --json', { env: down, timeoutMs: 60_000 })
    expect(`${back.code} ${back.code === 0 ? '' : back.output}`).toBe('0 ')
    await load.more(2 * RATE_PER_S)
    await outliveAnswers(place)
    await load.more(RATE_PER_S)
    const { atNew } = load.counts()
    await load.more(2 * RATE_PER_S)
    expect(bad(load.counts())).toEqual(NOTHING)
    expect(load.counts().atNew).toBe(atNew)
    expect(movedIn(place.sandbox).join()).toContain(OLD.ipv4)
    process.stderr.write(`rollback under load: ${summaryOf(load.counts())}\n`)
  }, 120_000)

  test('these visitors do notice: with the old host gone while names lead there, they fail', async () => {
    await around.oldHost.stop()
    const before = load.counts().failed
    await load.more(RATE_PER_S)
    expect(load.counts().failed).toBeGreaterThan(before)
  }, 30_000)
})
