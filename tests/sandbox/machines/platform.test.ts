import { afterEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMeter } from '../../../lib/engine/meter.ts'
import { createDokploy } from '../../../lib/providers/dokploy/dokploy.ts'
import { openStore } from '../../../lib/sandbox/store.ts'
import { Secret } from '../../../lib/secret.ts'
import {
  ADDRESS,
  BOOT_MS,
  closeRigs,
  createRig,
  DOKPLOY_START_MS,
  debian,
  getHttps,
  golden,
  HOST,
  openTunnel,
  type RigOptions,
  valuesOf,
} from './rig.ts'

type Rig = ReturnType<typeof createRig>

const ADMIN = { email: 'ops@example.com', password: new Secret('PANEL_PASSWORD', 'correct horse battery'), keyName: 'landfall' }
const closers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of closers.splice(0)) await close()
  await closeRigs()
})

const panelAt = (baseUrl: string) =>
  createDokploy({
    baseUrl,
    reloadSettleMs: 0,
    context: {
      clock: { nowMs: Date.now, monotonicMs: () => performance.now(), sleep: () => Promise.resolve() },
      meter: createMeter(),
      signal: new AbortController().signal,
      random: () => 0.5,
      log: () => undefined,
      beforeWrite: () => Promise.resolve(),
    },
  })

/** The product's own client, at the end of OpenSSH's own tunnel. */
const openPanel = async (rig: Rig) => {
  const tunnel = await openTunnel(await rig.portOf(22), 3000)
  closers.push(tunnel.close)
  return { ...panelAt(tunnel.url), url: tunnel.url }
}

const createReadyRig = (options: RigOptions = {}) => {
  const rig = createRig(options)
  rig.advance(BOOT_MS + DOKPLOY_START_MS)
  return rig
}

const failure = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work
  } catch (error) {
    return error instanceof Error ? `${'code' in error ? error.code : ''} ${error.message}` : String(error)
  }
  return 'it succeeded'
}

const certificatesOf = (rig: Rig) => (rig.machines.dump() as { certificates: unknown[] }[])[0]?.certificates

describe('Dokploy of a golden image', () => {
  test('is unreachable until it has started, then healthy through the tunnel', async () => {
    const rig = createRig()
    rig.advance(BOOT_MS)
    const panel = await openPanel(rig)
    expect(await rig.machines.dial(ADDRESS, 3000)).toBe('closed')
    expect(await panel.health()).toBe('down')
    rig.advance(DOKPLOY_START_MS)
    expect(await panel.health()).toBe('up')
    expect((await fetch(`http://127.0.0.1:${await rig.portOf(3000)}/api/health`)).status).toBe(200)
  })

  test('without its database answers, but is not up', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    rig.machines.control.dokploy('prod').setDatabase('down')
    expect(await panel.health()).toBe('starting')
    rig.machines.control.dokploy('prod').setDatabase('up')
    expect(await panel.health()).toBe('up')
  })

  test('killed takes its connections along, and comes back when revived', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    expect(await panel.health()).toBe('up')
    rig.machines.control.killDokploy('prod')
    expect(await panel.health()).toBe('down')
    expect((await rig.run('inspect')).stdout).toContain('service dokploy 0/1 dokploy/dokploy:v0.30.2')
    rig.machines.control.reviveDokploy('prod')
    expect(await panel.health()).toBe('up')
  })
})

describe('the way to a panel with TLS', () => {
  test('first admin, API key, panel domain, a certificate that holds', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    expect(await panel.hasAdmin()).toBe(false)
    const { apiKey } = await panel.claim(ADMIN)
    expect(await panel.hasAdmin()).toBe(true)
    expect(await panel.checkKey(apiKey)).toBe('valid')
    expect(await panel.version(apiKey)).toBe('v0.30.2')

    const unknown = await getHttps(await rig.portOf(443), '/', { verify: false })
    expect(unknown).toMatchObject({ status: 404, issuer: 'TRAEFIK DEFAULT CERT' })

    await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
    expect(await failure(getHttps(await rig.portOf(443), '/'))).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
    rig.advance(500)
    const answer = await getHttps(await rig.portOf(443), '/api/trpc/settings.health')
    expect(answer).toEqual({
      status: 200,
      body: '{"result":{"data":{"json":{"status":"ok"}}}}',
      issuer: 'Landfall Sandbox Root',
    })
    expect(certificatesOf(rig)).toEqual([
      { host: HOST, accountEmail: 'ops@example.com', orders: 1, failures: 0, state: 'issued' },
    ])
  })

  test('port 80 sends the known host to https and knows no other', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    const { apiKey } = await panel.claim(ADMIN)
    await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
    const web = `http://127.0.0.1:${await rig.portOf(80)}/login?next=1`
    const known = await fetch(web, { headers: { host: HOST }, redirect: 'manual' })
    expect({ status: known.status, location: known.headers.get('location') }).toEqual({
      status: 301,
      location: `https://${HOST}/login?next=1`,
    })
    const other = await fetch(web, { headers: { host: 'other.example.com' } })
    expect({ status: other.status, body: await other.text() }).toEqual({ status: 404, body: '404 page not found\n' })
  })

  test('an e-mail that no reload made known is not in the account', async () => {
    const rig = createReadyRig()
    const { apiKey } = await (await openPanel(rig)).claim(ADMIN)
    await post(rig, apiKey.reveal(), 'settings.assignDomainServer', {
      host: HOST,
      https: true,
      certificateType: 'letsencrypt',
      letsEncryptEmail: 'ops@example.com',
    })
    expect(certificatesOf(rig)).toMatchObject([{ accountEmail: 'test@localhost.com', orders: 1 }])
  })

  test.each([
    ['the name leads elsewhere', { resolve: '203.0.113.99', open: true }],
    ['port 80 is closed to the world', { resolve: ADDRESS, open: false }],
  ])('no certificate while %s, and a failed order rests for a while', async (_why, { resolve, open }) => {
    let isOpen = open
    const rig = createReadyRig({ openToWorld: () => isOpen })
    rig.names.set(HOST, resolve)
    const panel = await openPanel(rig)
    const { apiKey } = await panel.claim(ADMIN)
    await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
    rig.advance(1_000)
    expect(await failure(getHttps(await rig.portOf(443), '/'))).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(certificatesOf(rig)).toMatchObject([{ orders: 1, failures: 1, state: 'failed' }])

    rig.names.set(HOST, ADDRESS)
    isOpen = true
    rig.advance(1_000)
    expect(await failure(getHttps(await rig.portOf(443), '/'))).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
    await post(rig, apiKey.reveal(), 'settings.reloadTraefik', {})
    rig.advance(500)
    expect((await getHttps(await rig.portOf(443), '/')).status).toBe(200)
    expect(certificatesOf(rig)).toMatchObject([{ orders: 2, failures: 1, state: 'issued' }])
  })

  test('a dead panel behind a living Traefik is 502', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    const { apiKey } = await panel.claim(ADMIN)
    await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
    rig.advance(500)
    rig.machines.control.killDokploy('prod')
    expect(await getHttps(await rig.portOf(443), '/')).toMatchObject({ status: 502, body: 'Bad Gateway' })
  })
})

describe('an installation', () => {
  const INSTALL = { VERSION: '0.30.2', ADVERTISE_ADDR: '10.0.1.2', POOL: '10.200.0.0/16' }
  const createBareRig = () => {
    const rig = createRig({ server: { image: debian } })
    rig.advance(BOOT_MS)
    return rig
  }

  test('goes through its stages and ends with a healthy panel', async () => {
    const rig = createBareRig()
    expect((await rig.run('watch-dokploy-install')).stdout).toBe('unit=absent\nstage=none\n')
    expect((await rig.run('start-dokploy-install', INSTALL)).stdout).toBe('unit=started\n')
    expect((await rig.run('start-dokploy-install', INSTALL)).stdout).toBe('unit=running\n')
    rig.advance(60_000)
    expect((await rig.run('watch-dokploy-install')).stdout).toBe('unit=running\nstage=swarm\n')
    expect((await rig.run('facts')).values).toMatchObject({ dokploy: 'installing', docker: '28.5.0', swarm: 'inactive' })
    expect(await rig.machines.dial(ADDRESS, 443)).toBe('closed')
    rig.advance(60_000)
    expect((await rig.run('watch-dokploy-install')).stdout).toBe('unit=done\nstage=done\n')
    expect((await rig.run('facts')).values).toMatchObject({ dokploy: 'installed', swarm: 'active' })
    expect(await (await openPanel(rig)).health()).toBe('up')
    expect((await rig.run('start-dokploy-install', INSTALL)).stdout).toBe('unit=done\n')
    expect((await rig.run('inspect')).stdout.split('\n')).toContain('service dokploy 1/1 dokploy/dokploy:v0.30.2')
  })

  test('that fails says in which stage and why, and the next attempt goes on', async () => {
    const rig = createBareRig()
    rig.machines.control.failInstall('prod', 'postgres')
    await rig.run('start-dokploy-install', INSTALL)
    rig.advance(120_000)
    const { stdout } = await rig.run('watch-dokploy-install')
    expect(valuesOf(stdout)).toMatchObject({ unit: 'failed', stage: 'postgres' })
    const log = [...stdout.matchAll(/^log (\S+)$/gm)].map(([, line]) => Buffer.from(line ?? '', 'base64').toString())
    expect(log.at(-1)).toBe('failed at stage postgres with exit code 1')
    expect((await rig.run('facts')).values.dokploy).toBe('failed')
    expect((await rig.run('start-dokploy-install', INSTALL)).stdout).toBe('unit=started\n')
    rig.advance(120_000)
    expect((await rig.run('facts')).values.dokploy).toBe('installed')
  })

  test('that a reboot cut off leaves a stage and no unit', async () => {
    const rig = createBareRig()
    await rig.run('start-dokploy-install', INSTALL)
    rig.advance(90_000)
    rig.change({ runningSinceMs: rig.nowMs() })
    rig.advance(BOOT_MS + 100_000)
    expect((await rig.run('watch-dokploy-install')).stdout).toBe('unit=absent\nstage=dokploy\n')
    expect((await rig.run('facts')).values.dokploy).toBe('failed')
  })

  test.each([
    ['nothing that a version is made of', { ...INSTALL, VERSION: '0.30.2; reboot' }],
    ['no address', { VERSION: INSTALL.VERSION, POOL: INSTALL.POOL }],
  ])('is not begun with %s', async (_what, values) => {
    const rig = createBareRig()
    expect((await rig.run('start-dokploy-install', values)).exitCode).toBe(65)
    expect((await rig.run('facts')).values.dokploy).toBe('absent')
  })

  test('has no business on an image that brings Dokploy itself', async () => {
    const rig = createReadyRig({ server: { image: golden } })
    await rig.run('start-dokploy-install', INSTALL)
    expect((await rig.run('watch-dokploy-install')).values).toMatchObject({ unit: 'failed', stage: 'none' })
  })
})

describe('what the cloud does to a server reaches its machine', () => {
  test('a reboot ends connections, and the panel is itself again afterwards', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    const { apiKey } = await panel.claim(ADMIN)
    rig.change({ runningSinceMs: rig.nowMs() })
    expect(await panel.health()).toBe('down')
    rig.advance(BOOT_MS + DOKPLOY_START_MS)
    expect(await (await openPanel(rig)).checkKey(apiKey)).toBe('valid')
  })

  test('a rebuild forgets the admin, the login and the certificates', async () => {
    const rig = createReadyRig()
    const panel = await openPanel(rig)
    const { apiKey } = await panel.claim(ADMIN)
    await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
    await rig.run('write-dokploy-login', { EMAIL: ADMIN.email })
    rig.change({ runningSinceMs: rig.nowMs(), rebuiltAtMs: rig.nowMs() })
    rig.advance(BOOT_MS + DOKPLOY_START_MS)
    expect((await rig.run('facts')).values.dokploy_login).toBe('absent')
    const again = await openPanel(rig)
    expect(await again.hasAdmin()).toBe(false)
    expect(certificatesOf(rig)).toEqual([])
  })

  test('switched off or deleted, nothing answers and nothing is kept open', async () => {
    const rig = createReadyRig()
    const port = await rig.portOf(3000)
    rig.change({ status: 'off' })
    expect(await rig.machines.dial(ADDRESS, 22)).toBe('closed')
    expect(await failure(fetch(`http://127.0.0.1:${port}/api/health`))).toContain('ECONNREFUSED')
    rig.change('delete')
    expect(await rig.machines.dial(ADDRESS, 22)).toBe('closed')
    expect(rig.machines.dump()).toEqual([])
  })

  test('five hundred machines cost nothing until they are dialled', async () => {
    const rig = createRig()
    const servers = Array.from({ length: 500 }, (_, n) => ({
      id: String(n),
      name: `s${n}`,
      status: 'running',
      ipv4: `10.0.${n >> 8}.${n & 255}`,
      sshKeys: [],
      image: golden,
      runningSinceMs: 0,
    }))
    const { createSimulatedMachines } = await import('../../../lib/sandbox/machines/machines.ts')
    const store = openStore(':memory:')
    const machines = createSimulatedMachines({
      store,
      clock: { nowMs: () => rig.nowMs() },
      settings: () => ({ bootMs: 0, dokployStartMs: 0 }),
      servers: () => servers,
      resolve: () => undefined,
      ca: {
        pem: '',
        saved: '',
        issue: () => Promise.reject(new Error('not asked for')),
        sign: () => Promise.reject(new Error('not asked for')),
      },
    })
    closers.push(machines.close)
    machines.sync()
    expect(machines.dump()).toHaveLength(500)
    expect(store.collection('machine.disks').size).toBe(0)
    expect(await machines.dial('10.0.1.243', 22)).not.toBe('closed')
    expect(store.collection('machine.disks').size).toBe(1)
  })
})

test('a restart of the sandbox changes nothing that a client can see', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-store-'))
  const path = join(folder, 'sandbox.sqlite')
  const before = openStore(path)
  const rig = createReadyRig({ store: before })
  const panel = await openPanel(rig)
  const { apiKey } = await panel.claim(ADMIN)
  await panel.assignPanelHost(apiKey, { host: HOST, letsEncryptEmail: 'ops@example.com' })
  rig.advance(500)
  expect((await getHttps(await rig.portOf(443), '/')).status).toBe(200)
  await rig.run('write-dokploy-login', { EMAIL: ADMIN.email, API_KEY: apiKey.reveal() })
  rig.machines.control.diskFull('prod')
  const dump = JSON.stringify(rig.machines.dump())
  await closers.pop()?.()
  await rig.machines.close()
  before.close()

  const after = openStore(path)
  const again = createReadyRig({ store: after })
  again.advance(500)
  expect(JSON.stringify(again.machines.dump())).toBe(dump)
  expect((await again.run('facts')).values).toMatchObject({ dokploy_login: 'present', disk_free_mb: '0' })
  expect(await (await openPanel(again)).checkKey(apiKey)).toBe('valid')
  expect((await getHttps(await again.portOf(443), '/')).status).toBe(200)
  await again.machines.close()
  after.close()
  rmSync(folder, { recursive: true })
})

const post = async (rig: Rig, apiKey: string, name: string, body: unknown): Promise<void> => {
  const response = await fetch(`http://127.0.0.1:${await rig.portOf(3000)}/api/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': apiKey },
    body: JSON.stringify(body),
  })
  expect(response.status).toBe(200)
}
