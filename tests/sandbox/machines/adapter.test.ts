import { afterEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../../lib/engine/clock.ts'
import { createMeter } from '../../../lib/engine/meter.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { createMachines } from '../../../lib/providers/ssh/ssh.ts'
import { BOOT_MS, closeRigs, createRig, DOKPLOY_START_MS, hostKey, operator } from './rig.ts'

afterEach(closeRigs)

test.each(['system', 'builtin'] as const)('the product with its %s client does all it does with a real machine', async client => {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-adapter-'))
  const identityFile = join(folder, 'identity')
  writeFileSync(identityFile, operator.privateKey, { mode: 0o600 })
  const rig = createRig()
  rig.advance(BOOT_MS + DOKPLOY_START_MS)
  const machines = createMachines({
    directory: join(folder, 'estate'),
    identities: [{ file: identityFile }],
    route: { kind: 'direct' },
    client,
    context: {
      clock: systemClock,
      meter: createMeter(),
      signal: new AbortController().signal,
      random: () => 0.5,
      log: () => undefined,
      beforeWrite: () => Promise.resolve(),
    },
  })
  const bootstrap = {
    name: 'prod',
    address: '127.0.0.1',
    port: await rig.portOf(22),
    user: 'root',
    hostKeyAlias: 'estate-42',
    hostKey: hostKey.publicKey,
  }
  const next = await machines.generateKey()
  const pinned = { ...bootstrap, hostKey: next.publicKey }
  try {
    expect(await machines.look(bootstrap)).toEqual({ state: 'ready' })
    const rotated = await machines.run(bootstrap, PROGRAM_TEXTS['rotate-host-key'], {
      PRIVATE: next.privateKey,
      PUBLIC: next.publicKey,
    })
    expect(rotated).toEqual({ exitCode: 0, stdout: 'ok=1\n', stderr: '' })
    await machines.disconnect(bootstrap)
    expect(await machines.look(bootstrap)).toMatchObject({ state: 'impostor' })

    expect(await machines.look(pinned)).toEqual({ state: 'ready' })
    expect((await machines.run(pinned, PROGRAM_TEXTS.facts)).stdout).toContain('dokploy=installed\n')
    expect((await machines.run(pinned, PROGRAM_TEXTS['read-dokploy-login'])).exitCode).toBe(4)
    const tunnel = await machines.forward(pinned, 3000)
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${tunnel.url}/api/health`)))
    expect(answers.map(answer => answer.status)).toEqual(answers.map(() => 200))
    await tunnel.close()
  } finally {
    await machines.disconnect(pinned)
    await machines.disconnect(bootstrap)
    rmSync(folder, { recursive: true })
  }
})
