/** Logging in with a key that only an SSH agent holds: real ssh-agent, real OpenSSH server, both clients. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import { listAgentKeys } from '../../lib/providers/ssh/agent.ts'
import type { Identity } from '../../lib/providers/ssh/identity.ts'
import { generateKey } from '../../lib/providers/ssh/keys.ts'
import { createMachines } from '../../lib/providers/ssh/ssh.ts'
import { createSshd, type TestSshd } from './sshd.ts'

const OTHERS = 20

let sshd: TestSshd
let agent: Bun.Subprocess
let directory: string
let socket: string
let right: string
const outer = process.env.SSH_AUTH_SOCK

const add = (...files: string[]) => {
  const ran = Bun.spawnSync(['ssh-add', '-q', ...files], { env: { SSH_AUTH_SOCK: socket } })
  if (ran.exitCode !== 0) throw new Error(`ssh-add: ${ran.stderr}`)
}
const write = (name: string): string => {
  const file = join(directory, name)
  writeFileSync(file, generateKey().privateKey.reveal(), { mode: 0o600 })
  return file
}

beforeAll(async () => {
  sshd = await createSshd()
  await sshd.start()
  directory = mkdtempSync(join(tmpdir(), 'landfall-agent-'))
  chmodSync(directory, 0o700)
  socket = join(directory, 'socket')
  agent = Bun.spawn(['ssh-agent', '-D', '-a', socket], { stdout: 'ignore', stderr: 'ignore' })
  for (let tries = 0; (await Bun.file(socket).exists()) === false && tries < 200; tries += 1) await Bun.sleep(10)
  process.env.SSH_AUTH_SOCK = socket
  const derived = Bun.spawnSync(['ssh-keygen', '-y', '-f', sshd.identityFile])
  right = derived.stdout.toString().trim().split(' ').slice(0, 2).join(' ')
})

afterAll(async () => {
  if (outer === undefined) delete process.env.SSH_AUTH_SOCK
  else process.env.SSH_AUTH_SOCK = outer
  agent.kill()
  await agent.exited
  await sshd.stop()
  rmSync(directory, { recursive: true, force: true })
})

beforeEach(() => {
  Bun.spawnSync(['ssh-add', '-q', '-D'], { env: { SSH_AUTH_SOCK: socket } })
  add(...Array.from({ length: OTHERS }, (_, index) => write(`other-${index}`)))
})

const look = async (client: 'system' | 'builtin', identities: readonly Identity[]) => {
  const own = mkdtempSync(join(directory, 'estate-'))
  const machines = createMachines({
    directory: own,
    identities,
    route: { kind: 'direct' },
    context: {
      clock: systemClock,
      meter: createMeter(),
      signal: new AbortController().signal,
      random: () => 0.5,
      log: () => undefined,
      beforeWrite: async () => undefined,
    },
    client,
  })
  const target = {
    name: 'prod',
    address: '127.0.0.1',
    port: sshd.port,
    user: sshd.user,
    hostKeyAlias: 'demo-1',
    hostKey: sshd.hostKey,
  }
  const seen = await machines.look(target)
  await machines.disconnect(target)
  return seen
}

test('an agent tells its keys as ssh-add does', async () => {
  add(sshd.identityFile)
  const listed = Bun.spawnSync(['ssh-add', '-L'], { env: { SSH_AUTH_SOCK: socket } })
    .stdout.toString()
    .trim()
    .split('\n')
  const keys = await listAgentKeys(socket)
  expect(keys).toHaveLength(OTHERS + 1)
  expect(keys).toEqual(listed.map(line => line.split(' ').slice(0, 2).join(' ')))
})

for (const client of ['system', 'builtin'] as const)
  describe(`with the ${client} client`, () => {
    test('the key that is asked for logs in, behind twenty others', async () => {
      add(sshd.identityFile)
      expect(await look(client, [{ agentKey: right }])).toEqual({ state: 'ready' })
    })

    test('so it does beside a file that the server does not know', async () => {
      add(sshd.identityFile)
      expect(await look(client, [{ file: write('own') }, { agentKey: right }])).toEqual({ state: 'ready' })
    })

    test('so does a file, whatever the agent holds', async () => {
      expect(await look(client, [{ file: sshd.identityFile }])).toEqual({ state: 'ready' })
    })

    test('the others are not offered, and a key that the agent has lost is refused in words', async () => {
      const before = sshd.log().split('Too many authentication failures').length
      const seen = await look(client, [{ agentKey: right }])
      expect(seen.state).toBe('key_refused')
      expect(seen.state === 'key_refused' && seen.why).toContain(`refused to log in ${sshd.user} with a key of the SSH agent`)
      expect(sshd.log().split('Too many authentication failures').length).toBe(before)
    })

    test('without a choice twenty keys are too many', async () => {
      add(sshd.identityFile)
      expect((await look(client, [])).state).not.toBe('ready')
    })
  })

test('only public halves lie in the estate’s directory', async () => {
  add(sshd.identityFile)
  await look('system', [{ agentKey: right }])
  const files = [...new Bun.Glob('estate-*/agent-keys/*').scanSync(directory)]
  expect(files.length).toBeGreaterThan(0)
  for (const file of files) expect(readFileSync(join(directory, file), 'utf8')).toBe(`${right}\n`)
})
