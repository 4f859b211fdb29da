/** Who logs in with which key: a colleague whose agent holds one that config.json names, one whose agent does not, and an impostor. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKey } from '../../../lib/providers/ssh/keys.ts'
import { openImpostor } from '../../machines/base/impostor.ts'
import { openAgent, type TestAgent } from './agent.ts'
import { closePlaces, ONE_SERVER, openPlace, type Place } from './run.ts'

const COLLEAGUE = generateKey()
const OTHERS = Array.from({ length: 20 }, () => generateKey().privateKey.reveal())
const CONFIG = { ...ONE_SERVER, ssh: { public_keys: [`${COLLEAGUE.publicKey} colleague`] } }
const SERVER = 'prod-dokploy'

let place: Place
let agent: TestAgent
const folders: string[] = []

/** A computer on which nothing of the estate lies but its config. */
const elsewhere = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-colleague-'))
  folders.push(folder)
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG))
  return folder
}
const run = (cwd: string, command = 'setup --yes --json') => place.run(command, { cwd, env: { SSH_AUTH_SOCK: agent.socket } })

setDefaultTimeout(60_000)

beforeAll(async () => {
  place = await openPlace(CONFIG)
  expect((await place.run('setup --yes --json')).code).toBe(0)
  agent = await openAgent(join(place.cwd, 'agent'))
})

afterAll(async () => {
  agent.close()
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  await closePlaces()
})

describe('a colleague', () => {
  test('whose agent holds the right key among twenty others changes nothing, and gets no key of his own', async () => {
    agent.hold(...OTHERS, COLLEAGUE.privateKey.reveal())
    const cwd = elsewhere()
    const ran = await run(cwd)
    expect([ran.code, ran.errors()]).toEqual([0, []])
    expect(ran.summary()).toMatchObject({ changes: 0, applied: 0 })
    expect(existsSync(join(cwd, '.landfall/solo/id_ed25519'))).toBe(false)
  })

  test('whose agent has not got it is refused in words, and is let in once it has', async () => {
    agent.hold(...OTHERS)
    const cwd = elsewhere()
    const refused = await run(cwd)
    expect(refused.code).toBe(3)
    expect(refused.stdout).toContain(`${SERVER} does not accept this SSH key`)
    expect(refused.stdout).toContain('ssh-add')

    agent.hold(...OTHERS, COLLEAGUE.privateKey.reveal())
    expect((await run(cwd)).code).toBe(0)
  })
})

test('an impostor who is met in the middle of a run ends it with 3, and hears nothing', async () => {
  const impostor = await openImpostor(generateKey().privateKey.reveal())
  const first = await openPlace(ONE_SERVER, {
    hooks: {
      async afterEffect({ vendor, method, path }) {
        if (vendor !== 'hetzner' || method !== 'POST' || path !== '/servers') return
        for (const { ipv4 } of first.sandbox.controls.hetzner.serversForMachines())
          first.sandbox.controls.sites.set(ipv4 ?? '', 22, impostor.port)
      },
    },
  })
  const ran = await first.run('setup --yes --json')
  expect(ran.code).toBe(3)
  expect(ran.errors()).toMatchObject([{ code: 'host_key', hint: expect.stringContaining('somebody is in between') }])
  expect(impostor.contacts()).toBeGreaterThan(0)
  expect(impostor.payloadBytes()).toBe(0)
  expect(readFileSync(join(first.cwd, '.landfall/solo/journal.ndjson'), 'utf8')).toContain('"code":"host_key"')
  await impostor.close()
})
