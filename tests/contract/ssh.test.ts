/** The SSH adapter against a real OpenSSH server. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import { LandfallError } from '../../lib/errors.ts'
import type { ProviderContext, Route } from '../../lib/providers/context.ts'
import type { Machines, Program, Target } from '../../lib/providers/ports/machine.ts'
import type { Identity } from '../../lib/providers/ssh/identity.ts'
import { generateKey } from '../../lib/providers/ssh/keys.ts'
import { INSTALLER_TEXT, PROGRAM_TEXTS, renderProgram, WORKER_INSTALLER_TEXT } from '../../lib/providers/ssh/programs.ts'
import { createMachines } from '../../lib/providers/ssh/ssh.ts'
import { accepts, createSshd, descendants, freePort, type TestSshd } from './sshd.ts'

let sshd: TestSshd
const opened: { machines: Machines; target: Target; directory: string }[] = []

beforeAll(async () => {
  sshd = await createSshd()
  await sshd.start()
})

afterEach(async () => {
  for (const { machines, target, directory } of opened.splice(0)) {
    await machines.disconnect(target)
    rmSync(directory, { recursive: true, force: true })
  }
})

afterAll(() => sshd.stop())

const targetOf = (server: TestSshd, over: Partial<Target> = {}): Target => ({
  name: 'prod-dokploy',
  address: '127.0.0.1',
  port: server.port,
  user: server.user,
  hostKeyAlias: 'demo-4711',
  hostKey: server.hostKey,
  ...over,
})

interface Given {
  readonly server?: TestSshd
  readonly target?: Partial<Target>
  readonly client?: 'system' | 'builtin'
  readonly route?: Route
  readonly identities?: readonly Identity[]
  readonly directory?: string
  readonly context?: Partial<ProviderContext>
}

function given(options: Given = {}) {
  const server = options.server ?? sshd
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'landfall-ssh-'))
  const context: ProviderContext = {
    clock: systemClock,
    meter: createMeter(),
    signal: new AbortController().signal,
    random: () => 0.5,
    log: () => undefined,
    beforeWrite: async () => undefined,
    ...options.context,
  }
  const machines = createMachines({
    directory,
    identities: options.identities ?? [{ file: server.identityFile }],
    route: options.route ?? { kind: 'direct' },
    context,
    client: options.client ?? 'system',
  })
  const target = targetOf(server, options.target)
  opened.push({ machines, target, directory })
  return { machines, target, directory, context }
}

const program = (text: string, accepts: readonly string[] = [], timeoutMs = 10_000): Program => ({
  name: 'trial',
  text: renderProgram('trial', accepts, text),
  timeoutMs,
})

async function failureOf(work: Promise<unknown>): Promise<LandfallError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  )
  if (!(error instanceof LandfallError)) throw new Error(`expected a LandfallError, got ${String(error)}`)
  return error
}

const AWKWARD = `it's "quoted" $(touch /tmp/never) \`id\` \\ %s -n *\n\nünï 😀 \u0001\t\n\n`

for (const client of ['system', 'builtin'] as const)
  describe(`with the ${client} client`, () => {
    test('values, output and exit code arrive as they are', async () => {
      const { machines, target } = given({ client })
      const result = await machines.run(target, program('printf %s "$VALUE"; printf "ü said" >&2; exit 7\n', ['VALUE']), {
        VALUE: AWKWARD,
      })
      expect(result).toEqual({ exitCode: 7, stdout: AWKWARD, stderr: 'ü said' })
    })

    test('a value of 200 KiB arrives whole', async () => {
      const { machines, target } = given({ client })
      const value = 'abcdefgh'.repeat(25 * 1024)
      const result = await machines.run(target, program('printf %s "$VALUE" | sha256sum\n', ['VALUE']), { VALUE: value })
      expect(result.stdout.slice(0, 64)).toBe(new Bun.CryptoHasher('sha256').update(value).digest('hex'))
    })

    test('an impostor is recognised and receives nothing, a pinned host does', async () => {
      const witness = mkdtempSync(join(tmpdir(), 'landfall-witness-'))
      const impostor = await createSshd({ forced: `/bin/sh -c 'cat >${witness}/payload'` })
      await impostor.start()
      try {
        const secret = { VALUE: 'a-secret-for-the-real-host' }
        const pinned = given({ client, server: impostor, target: { hostKey: sshd.hostKey } })
        expect((await pinned.machines.look(pinned.target)).state).toBe('impostor')
        const error = await failureOf(pinned.machines.run(pinned.target, program('exit 0\n', ['VALUE']), secret))
        expect(error.code).toBe('host_key')
        expect(error.message).toContain('nothing was sent')
        expect(readdirSync(witness)).toEqual([])
        expect(impostor.log()).not.toContain('Accepted')

        const trusted = given({ client, server: impostor })
        await trusted.machines.run(trusted.target, program('exit 0\n', ['VALUE']), secret)
        expect(readFileSync(join(witness, 'payload'), 'utf8')).toContain(Buffer.from(secret.VALUE).toString('base64'))
      } finally {
        await impostor.stop()
        rmSync(witness, { recursive: true, force: true })
      }
    })

    test('a key that the host does not know is refused in words', async () => {
      const stranger = join(sshd.directory, `stranger-${client}`)
      writeFileSync(stranger, generateKey().privateKey.reveal(), { mode: 0o600 })
      const { machines, target } = given({ client, identities: [{ file: stranger }] })
      const seen = await machines.look(target)
      expect(seen.state).toBe('key_refused')
      expect(seen.state === 'key_refused' && seen.why).toContain(stranger)
      expect((await failureOf(machines.run(target, program('exit 0\n')))).code).toBe('forbidden')
    })

    test('a closed port is unreachable, and a wait for it ends in time', async () => {
      const { machines, target } = given({ client, target: { port: await freePort() } })
      expect((await machines.look(target)).state).toBe('unreachable')
      const startedMs = performance.now()
      const error = await failureOf(machines.waitReady(target, 1_200, new AbortController().signal))
      expect(error.code).toBe('timeout')
      expect(error.message).toContain('prod-dokploy was not ready')
      expect(performance.now() - startedMs).toBeLessThan(4_000)
    })

    test('a wait ends as soon as a booting machine answers', async () => {
      const late = await createSshd()
      try {
        const { machines, target } = given({ client, server: late })
        const waiting = machines.waitReady(target, 20_000, new AbortController().signal)
        await Bun.sleep(300)
        await late.start()
        await waiting
        expect((await machines.run(target, program('echo up\n'))).stdout).toBe('up\n')
      } finally {
        await late.stop()
      }
    })

    test('a program that does not end is given up at its deadline', async () => {
      const { machines, target } = given({ client })
      await machines.look(target)
      const startedMs = performance.now()
      const error = await failureOf(machines.run(target, program('sleep 30\n', [], 400)))
      expect(error.code).toBe('timeout')
      expect(error.message).toContain('The program trial on prod-dokploy has no result')
      expect(performance.now() - startedMs).toBeLessThan(3_000)
      expect((await machines.run(target, program('echo again\n'))).stdout).toBe('again\n')
    })

    test('an interrupt ends a program here', async () => {
      const { machines, target } = given({ client })
      await machines.look(target)
      const interrupt = new AbortController()
      const running = failureOf(machines.run(target, program('sleep 30\n'), {}, interrupt.signal))
      await Bun.sleep(150)
      interrupt.abort()
      expect((await running).code).toBe('cancelled')
    })

    test('endless output is cut off', async () => {
      const { machines, target } = given({ client })
      const error = await failureOf(machines.run(target, program('yes\n')))
      expect(error.code).toBe('network')
      expect(error.message).toContain('more than 1 MiB')
    })

    test('a tunnel carries bytes to the machine’s loopback until it is closed', async () => {
      const { machines, target } = given({ client })
      const web = Bun.serve({
        port: 0,
        hostname: '127.0.0.1',
        fetch: async request => new Response(`got ${await request.text()}`),
      })
      try {
        const tunnel = await machines.forward(target, web.port ?? 0)
        expect(tunnel.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
        const big = 'x'.repeat(300_000)
        const answers = await Promise.all(
          [big, 'b', 'c'].map(body =>
            fetch(tunnel.url, { method: 'POST', body, keepalive: false }).then(answer => answer.text()),
          ),
        )
        expect(answers).toEqual([`got ${big}`, 'got b', 'got c'])
        await tunnel.close()
        expect(await accepts(Number(new URL(tunnel.url).port))).toBe(false)
      } finally {
        web.stop(true)
      }
    })

    test('a machine that answered before may be away for a moment, and what changes something is sent once', async () => {
      let away = false
      const proxy = await createProxy(() => (away ? 1 : sshd.port))
      const { machines, target, directory } = given({ client, route: { kind: 'proxy', host: '127.0.0.1', port: proxy.port } })
      try {
        expect((await machines.look(target)).state).toBe('ready')
        await machines.disconnect(target)
        away = true
        setTimeout(() => {
          away = false
        }, 2_500)
        const startedMs = performance.now()
        const done = await machines.run(target, program(`echo once >>'${directory}/done'\n`))
        expect(done.exitCode).toBe(0)
        expect(performance.now() - startedMs).toBeGreaterThan(2_000)
        expect(readFileSync(`${directory}/done`, 'utf8')).toBe('once\n')
      } finally {
        proxy.server.close()
      }
    })

    test('one that never answered is not waited for', async () => {
      const { machines, target } = given({ client, target: { port: await freePort() } })
      const startedMs = performance.now()
      expect((await failureOf(machines.run(target, PROGRAM_TEXTS.facts))).code).toBe('network')
      expect(performance.now() - startedMs).toBeLessThan(5_000)
    })

    test('addresses that exist only behind a proxy are reached through it', async () => {
      const proxy = await createProxy(() => sshd.port)
      try {
        const { machines, target } = given({
          client,
          route: { kind: 'proxy', host: '127.0.0.1', port: proxy.port },
          target: { address: '2001:db8::7', port: 22 },
        })
        expect((await machines.run(target, program('printf %s "$V"\n', ['V']), { V: AWKWARD })).stdout).toBe(AWKWARD)
        expect([...new Set(proxy.asked)]).toEqual(['CONNECT [2001:db8::7]:22 HTTP/1.1'])
      } finally {
        proxy.server.close()
      }
    })
  })

describe('the operator’s own files', () => {
  test('~/.ssh/known_hosts is not touched', async () => {
    const own = join(homedir(), '.ssh', 'known_hosts')
    const state = () => (existsSync(own) ? [statSync(own).mtimeMs, readFileSync(own, 'utf8')] : 'absent')
    const before = state()
    const { machines, target, directory } = given()
    await machines.look(target)
    await machines.look({ ...target, hostKey: generateKey().publicKey })
    expect(state()).toEqual(before)
    expect(readdirSync(join(directory, 'known_hosts')).length).toBe(2)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
  })

  test('a directory with a long name and awkward characters works', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'landfall-'))
    const directory = join(parent, `${'long '.repeat(30)}100% 'quoted'`)
    mkdirSync(directory)
    const { machines, target } = given({ directory })
    expect((await machines.run(target, program('echo fine\n'))).stdout).toBe('fine\n')
    expect(readdirSync(join(directory, 'ctl')).length).toBe(1)
    await machines.disconnect(target)
    expect(readdirSync(join(directory, 'ctl'))).toEqual([])
    rmSync(parent, { recursive: true, force: true })
  })
})

describe('connections', () => {
  test('programs at the same time share one login', async () => {
    const { machines, target, context } = given()
    const logins = () => sshd.log().split('Accepted publickey').length - 1
    const before = logins()
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => machines.run(target, program(`echo ${i}\n`))))
    expect(results.map(result => result.stdout)).toEqual(Array.from({ length: 20 }, (_, i) => `${i}\n`))
    expect(logins() - before).toBe(1)
    // A program that is not listed may write anything.
    expect(context.meter.snapshot()).toEqual({ ssh: { reads: 0, writes: 20 } })
  })

  test('a rebuilt server on the same address is reached with its new pin alone', async () => {
    const rebuilt = await createSshd()
    await rebuilt.start()
    try {
      const { machines, target } = given()
      expect((await machines.look(target)).state).toBe('ready')
      const successor = { ...target, port: rebuilt.port, hostKey: rebuilt.hostKey }
      expect((await machines.look({ ...target, port: rebuilt.port })).state).toBe('impostor')
      const after = given({ server: rebuilt })
      expect((await after.machines.look(successor)).state).toBe('ready')
    } finally {
      await rebuilt.stop()
    }
  })

  test('a tunnel whose port somebody else took meanwhile is not theirs, but another', async () => {
    const thief = createServer(socket => socket.end('stolen'))
    const { machines, target, directory } = given()
    await machines.look(target)
    // Goes before ssh once: it says which port is wanted, and waits until that is taken.
    const bin = join(directory, 'bin')
    mkdirSync(bin)
    writeFileSync(
      join(bin, 'ssh'),
      `#!/bin/sh
PATH=\${PATH#*:}
case " $* " in
*' -L '*)
  if [ ! -e '${bin}/wanted' ]; then
    for word; do case $word in 127.0.0.1:*) echo "$word" >'${bin}/wanted' ;; esac; done
    until [ -e '${bin}/taken' ]; do sleep 0.05; done
  fi
  ;;
esac
exec ssh "$@"
`,
      { mode: 0o755 },
    )
    const path = process.env.PATH
    process.env.PATH = `${bin}:${path}`
    const web = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('ours') })
    try {
      const opening = machines.forward(target, web.port ?? 0)
      while (!existsSync(join(bin, 'wanted'))) await Bun.sleep(20)
      const wanted = Number(readFileSync(join(bin, 'wanted'), 'utf8').split(':')[1])
      await new Promise<void>(resolve => thief.listen(wanted, '127.0.0.1', resolve))
      writeFileSync(join(bin, 'taken'), '')
      const tunnel = await opening
      expect(new URL(tunnel.url).port).not.toBe(String(wanted))
      expect(await (await fetch(tunnel.url, { keepalive: false })).text()).toBe('ours')
      await tunnel.close()
    } finally {
      process.env.PATH = path
      thief.close()
      web.stop(true)
    }
  })

  test('a tunnel that breaks says so', async () => {
    const { machines, target } = given()
    const tunnel = await machines.forward(target, sshd.port)
    for (const session of descendants(sshd.pid())) process.kill(session, 'SIGKILL')
    await tunnel.ended
    expect(await accepts(Number(new URL(tunnel.url).port))).toBe(false)
  })

  test('after a shared connection was killed, the next program makes its own', async () => {
    const { machines, target } = given()
    await machines.look(target)
    for (const session of descendants(sshd.pid())) process.kill(session, 'SIGKILL')
    const result = await machines.run(target, program('echo back\n')).catch(() => machines.run(target, program('echo back\n')))
    expect(result.stdout).toBe('back\n')
  })

  test('no write is sent when the run may not go on', async () => {
    const refusal = new LandfallError('locked', 'Another run holds the estate.')
    const { machines, target, context } = given({ context: { beforeWrite: () => Promise.reject(refusal) } })
    expect(await failureOf(machines.run(target, program('exit 0\n')))).toBe(refusal)
    expect((await machines.run(target, PROGRAM_TEXTS.facts)).stdout).toContain('ssh_client=127.0.0.1')
    expect(context.meter.snapshot()).toEqual({ ssh: { reads: 1, writes: 0 } })
  })

  test('a half-open connection ends within 25 seconds', async () => {
    const frozen = await createSshd()
    await frozen.start()
    try {
      const { machines, target } = given({ server: frozen })
      await machines.look(target)
      const running = failureOf(machines.run(target, program('sleep 100\n', [], 60_000)))
      await Bun.sleep(300)
      const startedMs = performance.now()
      for (const session of descendants(frozen.pid())) process.kill(session, 'SIGSTOP')
      const error = await running
      expect(['network', 'timeout']).toContain(error.code)
      expect(performance.now() - startedMs).toBeLessThan(25_000)
    } finally {
      await frozen.stop()
    }
  }, 40_000)

  test('a tunnel does not outlive a killed process', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'landfall-ssh-'))
    const owner = spawn(process.execPath, [join(import.meta.dir, 'hold-tunnel.ts')], {
      env: { ...process.env, TRIAL: JSON.stringify({ directory, identityFile: sshd.identityFile, target: targetOf(sshd) }) },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const port = Number(await firstLine(owner))
    expect(await accepts(port)).toBe(true)
    owner.kill('SIGKILL')
    let tries = 0
    while ((await accepts(port)) && tries < 100) {
      await Bun.sleep(20)
      tries += 1
    }
    expect(await accepts(port)).toBe(false)
    rmSync(directory, { recursive: true, force: true })
  })
})

describe('the host key', () => {
  test('is replaced for good: the old pin is an impostor’s, the new one is served, and repeating it is safe', async () => {
    const server = await createSshd()
    await server.start()
    try {
      const { machines, target } = given({ server })
      const fresh = await machines.generateKey()
      const rotate = {
        ...PROGRAM_TEXTS['rotate-host-key'],
        text: PROGRAM_TEXTS['rotate-host-key'].text
          .replaceAll('/etc/ssh/', `${server.directory}/`)
          .replaceAll('/run/sshd.pid', `${server.directory}/sshd.pid`)
          .replaceAll('/run/systemd/system', `${server.directory}/no-systemd`),
      }
      writeFileSync(join(server.directory, 'ssh_host_rsa_key'), 'another')
      const values = { PRIVATE: fresh.privateKey, PUBLIC: fresh.publicKey }
      expect(await machines.run(target, rotate, values)).toEqual({ exitCode: 0, stdout: 'ok=1\n', stderr: '' })
      await machines.disconnect(target)
      expect((await machines.look(target)).state).toBe('impostor')
      const renewed = { ...target, hostKey: fresh.publicKey }
      expect((await machines.run(renewed, rotate, values)).stdout).toBe('ok=1\n')
      expect(
        readdirSync(server.directory)
          .filter(name => name.startsWith('ssh_host'))
          .sort(),
      ).toEqual(['ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub'])
      const mismatched = await machines.run(renewed, rotate, { ...values, PUBLIC: generateKey().publicKey })
      expect(mismatched.exitCode).toBe(65)
      expect(readFileSync(join(server.directory, 'ssh_host_ed25519_key'), 'utf8').trim()).toBe(fresh.privateKey.reveal().trim())
      await machines.disconnect(renewed)
    } finally {
      await server.stop()
    }
  })
})

describe('the programs', () => {
  const texts = {
    ...Object.fromEntries(Object.values(PROGRAM_TEXTS).map(each => [each.name, each.text])),
    installer: INSTALLER_TEXT,
    'worker installer': WORKER_INSTALLER_TEXT,
  }
  for (const [name, text] of Object.entries(texts))
    test(`${name} passes shellcheck and dash`, async () => {
      const file = join(sshd.directory, `${name}.sh`)
      writeFileSync(file, text)
      for (const command of [
        ['shellcheck', '--shell=sh', file],
        ['dash', '-n', file],
      ]) {
        const checked = Bun.spawnSync(command)
        expect({ command, exitCode: checked.exitCode, said: checked.stdout.toString() + checked.stderr.toString() }).toEqual({
          command,
          exitCode: 0,
          said: '',
        })
      }
    })
})

const firstLine = (child: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()))
    child.once('exit', () => reject(new Error('it ended before it wrote a line')))
  })

/** A CONNECT proxy that leads every address to one port here. */
async function createProxy(portOf: () => number): Promise<{ server: Server; port: number; asked: string[] }> {
  const asked: string[] = []
  const port = await freePort()
  const server = createServer(socket => {
    socket.on('error', () => socket.destroy())
    socket.once('data', (head: Buffer) => {
      asked.push(head.toString().split('\r\n')[0] ?? '')
      const far = connect(portOf(), '127.0.0.1', () => socket.write('HTTP/1.1 200 Connection established\r\n\r\n'))
      far.on('error', () => socket.destroy())
      far.pipe(socket).pipe(far)
    })
  })
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  return { server, port, asked }
}
