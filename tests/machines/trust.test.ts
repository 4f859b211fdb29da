/** Somebody between us and a new server, at the first contact and later with the key that travelled in cloud-init: he is told nothing. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '../../lib/sandbox/sandbox.ts'
import { openContainers, openPlace, type Place, type Ran } from './base/estate.ts'
import { type Impostor, openImpostor } from './base/impostor.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS } from './base/world.ts'

const RUN_MS = 4 * 60_000
/** A refusal asks once and waits for nothing. */
const REFUSAL_MS = 60_000

let sandbox: Sandbox
let place: Place
let impostor: Impostor

const keyFrom = (comment: string): string => {
  const file = join(place.cwd, comment)
  expect(Bun.spawnSync(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', file]).exitCode).toBe(0)
  return file
}
const textOf = (file: string): Promise<string> => Bun.file(file).text()
const server = () => {
  const [only] = sandbox.controls.hetzner.serversForMachines()
  if (!only) throw new Error('There is no server.')
  return only
}
const stand = (between: Impostor | undefined) => sandbox.controls.sites.set(server().ipv4 ?? '', 22, between?.port)
const ended = ({ code, ms, errors }: Ran, how: number, words: string) => {
  expect(errors.join('\n')).toContain(words)
  expect(code).toBe(how)
  expect(ms).toBeLessThan(REFUSAL_MS)
}

beforeAll(async () => {
  sandbox = await openContainers({
    async afterEffect({ vendor, method, path }) {
      // From the server's first instant.
      if (vendor === 'hetzner' && method === 'POST' && path === '/servers') stand(impostor)
    },
  })
  place = openPlace(sandbox, {
    project: 'first',
    hetzner: { location: 'nbg1', image: 'debian-12' },
    servers: { first: { type: 'cx23' } },
  })
  impostor = await openImpostor(await textOf(keyFrom('impostor')))
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await sandbox?.close()
  await impostor?.close()
  place?.close()
  expect(sandbox?.bugs).toEqual([])
}, CLOSE_TIMEOUT_MS)

test(
  'whoever trusts him does tell him something',
  async () => {
    const key = keyFrom('trusting')
    const words = [
      '-F',
      '/dev/null',
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      'UserKnownHostsFile=/dev/null',
      '-o',
      'BatchMode=yes',
    ]
    const trusting = await openImpostor(await textOf(keyFrom('trusted')))
    const ssh = Bun.spawn(['ssh', ...words, '-i', key, '-p', String(trusting.port), 'root@127.0.0.1', 'true'], {
      stdout: 'ignore',
      stderr: 'ignore',
      timeout: 10_000,
    })
    await ssh.exited
    expect([trusting.contacts(), trusting.payloadBytes() > 0]).toEqual([1, true])
    await trusting.close()
  },
  REFUSAL_MS,
)

test(
  'at the first contact the run is refused in words, and not a byte is sent beyond the key exchange',
  async () => {
    try {
      ended(await place.run('setup --yes'), 3, 'does not have the host key that was pinned; nothing was sent.')
      expect(impostor.contacts()).toBeGreaterThan(0)
      expect(impostor.payloadBytes()).toBe(0)
    } finally {
      stand(undefined)
    }
    const { code, errors } = await place.run('setup --yes')
    expect({ code, errors }).toEqual({ code: 0, errors: [] })
  },
  RUN_MS,
)

test(
  'the key that travelled in cloud-init is worth nothing after the first login, to whoever has it',
  async () => {
    const [, indented = ''] = /ed25519_private: \|\n((?: {4}.*\n)+)/.exec(server().userData) ?? []
    const key = indented.replace(/^ {4}/gm, '')
    expect(key).toStartWith('-----BEGIN OPENSSH PRIVATE KEY-----')
    const thief = await openImpostor(key)
    stand(thief)
    // The session of the last run is still open, and would be used.
    await sandbox.controls.containers?.exec('first', ['pkill', '-f', '^sshd: root'])
    try {
      ended(await place.run('setup --yes'), 3, 'with an SSH host key that is not the pinned one')
      expect(thief.contacts()).toBeGreaterThan(0)
      expect(thief.payloadBytes()).toBe(0)
    } finally {
      stand(undefined)
      await thief.close()
    }
    const found = await sandbox.controls.containers?.exec('first', ['grep', '-rl', key.split('\n')[2] ?? '', '/etc/ssh'])
    expect(found?.stdout).toBe('')
    expect((await place.run('setup --yes')).code).toBe(0)
  },
  RUN_MS,
)

test('the operator’s own known_hosts does not come about', () => {
  expect(existsSync(join(place.cwd, '.ssh'))).toBe(false)
})
