/**
 * The stand-in world put together: clouds, DNS, machines and the internet between them, over one store. It runs in this process, speaks
 * real protocols on loopback, and with a file it is the same world after a restart, on other ports.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, extname, join, resolve as resolvePath } from 'node:path'
import { execPath } from 'node:process'
import { type AcmeControl, createAcmeStandIn } from './acme/standin.ts'
import { createAuthority } from './ca.ts'
import { type CloudflareControl, createCloudflareStandIn } from './cloudflare/standin.ts'
import type { ContainerMachines, ContainerOptions } from './containers/machines.ts'
import { answerControl } from './control.ts'
import { createDigitalOceanStandIn, type DigitalOceanControl, MACHINE_PREFIX } from './digitalocean/standin.ts'
import { createInstants, exposureSnapshot, type Instant, isLetIn, STRANGER } from './exposure.ts'
import { createFaultSource } from './faults.ts'
import { createRequestLog, type Front, type FrontOptions, serveStandIn } from './front.ts'
import { createGitHubStandIn, type GitHubControl } from './github/standin.ts'
import { createHetznerStandIn, type HetznerControl } from './hetzner/standin.ts'
import { serveInternet } from './internet.ts'
import type { Hooks, LoggedRequest, SandboxClock, SandboxSettings, StandIn } from './kit.ts'
import { createSimulatedMachines, type MachinesControl } from './machines/machines.ts'
import { type DnsControl, startNames } from './names.ts'
import { type OldHostSpec, openOldHost } from './old-host.ts'
import { openStore } from './store.ts'
import { createVercelStandIn, VERCEL_EXAMPLE, type VercelControl } from './vercel/standin.ts'

/** Tokens of every sandbox: they open nothing else. */
export const SANDBOX_TOKENS = {
  hetzner: 'landfall-sandbox-hetzner-token-that-opens-nothing-else-000000000',
  hetznerReadOnly: 'landfall-sandbox-hetzner-token-that-may-only-read-00000000000000',
  digitalocean: 'landfall-sandbox-digitalocean-token-that-opens-nothing-else-0000',
  digitaloceanReadOnly: 'landfall-sandbox-digitalocean-token-that-may-only-read-000000000',
  cloudflare: 'landfall-sandbox-cloudflare-token-that-opens-nothing-else-000000',
  cloudflareReadOnly: 'landfall-sandbox-cloudflare-token-that-may-only-read-00000000000',
  github: 'landfall-sandbox-github-token-that-opens-nothing-else',
  vercel: 'landfall-sandbox-vercel-token-that-opens-nothing-else',
} as const

/** The project of the sandbox's own Hetzner tokens. */
export const SANDBOX_PROJECT = 'sandbox'

export const DEFAULT_SETTINGS: SandboxSettings = {
  latencyMs: 0,
  actionMs: { create_server: 5000, start_server: 1000, other: 1000 },
  bootMs: 3000,
  dokployStartMs: 4000,
  rateLimits: true,
  faults: [],
}

export type LiveSettings = { -readonly [K in keyof SandboxSettings]: SandboxSettings[K] }

export interface Seed {
  /** Zones that exist, empty and active, whenever the sandbox is opened. */
  readonly zones: readonly string[]
  /** Whether a new world holds a finished golden image. */
  readonly goldenImage: boolean
}

export interface SandboxOptions {
  /** A file, or ':memory:' (also when absent) for a world that ends with the process. */
  readonly path?: string
  readonly settings?: Partial<SandboxSettings>
  readonly hooks?: Hooks
  readonly seed?: Partial<Seed>
  readonly clock?: SandboxClock
  /** Any free port where absent. */
  readonly ports?: { readonly [K in 'hetzner' | 'digitalocean' | 'cloudflare' | 'internet' | 'authority' | 'resolver']?: number }
  /** Simulated where absent. Containers are real systems: they need Linux, root and Docker Engine, and end with the sandbox. */
  readonly machines?: 'simulated' | ({ readonly kind: 'container' } & ContainerOptions)
}

export interface Sandbox {
  /** What a client needs to live in this world instead of the real one. */
  readonly environment: Readonly<Record<string, string>>
  readonly controls: {
    readonly hetzner: HetznerControl
    readonly digitalocean: DigitalOceanControl
    readonly cloudflare: CloudflareControl
    readonly machines: MachinesControl
    readonly github: GitHubControl
    readonly vercel: VercelControl
    /** Where the machines are containers. */
    readonly containers?: ContainerMachines['control']
    readonly dns: DnsControl
    readonly acme: AcmeControl
    /** Servers of other people, the former host's for example, or a real one in a machine's place; until the process ends. */
    readonly sites: { set(address: string, port: number, loopbackPort: number | undefined): void }
  }
  readonly ports: { readonly [K in 'hetzner' | 'digitalocean' | 'cloudflare' | 'internet' | 'authority' | 'resolver']: number }
  /** Whether this world was made now, and not found. */
  readonly isNew: boolean
  /** The ground truth of what was asked, oldest first. */
  requests(): readonly LoggedRequest[]
  /** The ground truth of everything there is. */
  world(): World
  /** What a stranger could reach at each moment at which that changed. */
  instants(): readonly Instant[]
  /** Effective at once. */
  readonly settings: LiveSettings
  /** Failures of the sandbox itself; empty unless it has a bug. */
  readonly bugs: readonly unknown[]
  /** Lets the former host of names that move serve them, until the process ends. Another call changes whom it serves. */
  openOldHost(spec: OldHostSpec): Promise<void>
  /** Back to a new world: same tokens, same certificate authority. */
  reset(): void
  close(): Promise<void>
}

export interface World {
  readonly hetzner: unknown
  readonly digitalocean: unknown
  readonly cloudflare: unknown
  readonly machines: unknown
  readonly bugs: readonly string[]
}

const GOLDEN_IMAGE = {
  project: SANDBOX_PROJECT,
  // As a build by Landfall labels it; a test holds the two together.
  labels: { 'landfall/image': 'nixos-dokploy', 'landfall/dokploy': '0.30.2' },
  description: 'landfall golden image (sandbox)',
  diskGb: 40,
  sizeGb: 2.1,
} as const

/** @throws LandfallError `locked` when another process has the file */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const path = options.path ?? ':memory:'
  const clock = options.clock ?? { nowMs: () => Date.now() }
  const settings: LiveSettings = { ...DEFAULT_SETTINGS, ...options.settings }
  const seed: Seed = { zones: [], goldenImage: false, ...options.seed }
  const store = openStore(path)
  const closers: (() => unknown)[] = [() => store.close()]
  const close = async (): Promise<void> => {
    // Whatever was opened last may still use what was opened before it.
    for (const step of closers.splice(0).reverse()) await step()
  }
  try {
    const bugs: unknown[] = []
    const meta = store.collection<{ readonly value: string }>('sandbox.meta')
    const isNew = meta.get('ca') === undefined
    const ca = await createAuthority(meta.get('ca')?.value)
    meta.put('ca', { value: ca.saved })
    const caFile = writeCa(path, ca.pem)
    closers.push(caFile.remove)

    // ── the vendors ──

    let changed: () => void = () => undefined
    const standIn = { store, clock, settings: () => settings, onChange: () => changed() }
    const hetzner = createHetznerStandIn(standIn)
    const digitalocean = createDigitalOceanStandIn(standIn)
    const cloudflare = createCloudflareStandIn({ store, clock, settings: () => settings })

    const github = createGitHubStandIn({ store, clock })
    const vercel = createVercelStandIn({ store, clock })

    const log = createRequestLog(store, () => settings)
    const faults = createFaultSource()
    const serve = async (vendor: StandIn, more: Pick<FrontOptions, 'base' | 'port'>): Promise<Front> =>
      serveStandIn(vendor, {
        ...more,
        clock,
        settings: () => settings,
        log,
        faults,
        flush: store.flush,
        onBug: error => bugs.push(error),
        ...(options.hooks ? { hooks: options.hooks } : {}),
      })

    // ── names ──

    const names = await startNames({ store, clock, cloudflare: cloudflare.control, ports: options.ports ?? {} })
    closers.push(names.close)

    // ── machines, and the way to them ──

    const servers = () => [
      ...hetzner.control.serversForMachines().map(toMachineServer),
      ...digitalocean.control.serversForMachines(),
    ]
    const exposure = (serverId: string) =>
      serverId.startsWith(MACHINE_PREFIX) ? digitalocean.control.exposure(serverId) : hetzner.control.exposure(Number(serverId))
    const isOpenToWorld = (serverId: string, port: number): boolean => {
      const openings = exposure(serverId)
      return isLetIn(openings, STRANGER.ipv4, port)
    }
    let sourceOf: (localPort: number) => string | undefined = () => undefined
    const machineOptions = options.machines ?? 'simulated'
    const containers =
      machineOptions === 'simulated'
        ? undefined
        : await (await import('./containers/machines.ts')).createContainerMachines({
            store,
            clock,
            servers,
            exposure,
            resolve: names.originOf,
            ca,
            openToWorld: isOpenToWorld,
            cloud: () => hetzner.control.dump(),
            options: machineOptions,
            onBug: error => bugs.push(error),
          })
    const machines =
      containers ??
      createSimulatedMachines({
        store,
        clock,
        settings: () => settings,
        servers,
        resolve: names.originOf,
        ca,
        sourceOf: port => sourceOf(port),
        openToWorld: isOpenToWorld,
        serve: vendor => serve(vendor, { base: '' }),
        ...(options.hooks ? { hooks: options.hooks } : {}),
      })
    closers.push(machines.close)

    const instants = createInstants(clock, () => exposureSnapshot(servers(), exposure))
    const watch = createWatch(clock, [hetzner.control, digitalocean.control])
    closers.push(watch.stop)
    let telling = false
    changed = () => {
      // Looking settles what is due, which may be one more change: it is part of this look.
      if (telling) return
      telling = true
      try {
        machines.sync()
        instants.record()
        watch.next()
      } finally {
        telling = false
      }
    }

    // ── opening ──

    const plant = (fresh: boolean): void =>
      store.transaction(() => {
        hetzner.control.addToken(SANDBOX_TOKENS.hetzner, { project: SANDBOX_PROJECT, access: 'read_write' })
        hetzner.control.addToken(SANDBOX_TOKENS.hetznerReadOnly, { project: SANDBOX_PROJECT, access: 'read_only' })
        digitalocean.control.addToken(SANDBOX_TOKENS.digitalocean, { access: 'read_write' })
        digitalocean.control.addToken(SANDBOX_TOKENS.digitaloceanReadOnly, { access: 'read_only' })
        github.control.addToken({ value: SANDBOX_TOKENS.github, right: 'admin', makes: true })
        vercel.control.addToken(SANDBOX_TOKENS.vercel)
        if (fresh) {
          vercel.control.addProject(VERCEL_EXAMPLE)
          cloudflare.control.addToken({ value: SANDBOX_TOKENS.cloudflare })
          cloudflare.control.addToken({ value: SANDBOX_TOKENS.cloudflareReadOnly, rest: 'read' })
          if (seed.goldenImage) hetzner.control.seedGoldenImage(GOLDEN_IMAGE)
        }
        const known = new Set(cloudflare.control.zones().map(zone => zone.name))
        for (const name of seed.zones) if (!known.has(name)) cloudflare.control.addZone({ name })
      })
    plant(isNew)

    const hetznerFront = await serve(hetzner, { base: '/v1', port: options.ports?.hetzner ?? 0 })
    closers.push(hetznerFront.close)
    const digitaloceanFront = await serve(digitalocean, { base: '/v2', port: options.ports?.digitalocean ?? 0 })
    closers.push(digitaloceanFront.close)
    const cloudflareFront = await serve(cloudflare, { base: '/client/v4', port: options.ports?.cloudflare ?? 0 })
    closers.push(cloudflareFront.close)
    const githubFront = await serve(github, { base: '' })
    closers.push(githubFront.close)
    const vercelFront = await serve(vercel, { base: '' })
    closers.push(vercelFront.close)
    const acme = createAcmeStandIn({ store, clock, ca, ask: names.ask, rateLimits: () => settings.rateLimits })
    const acmeFront = await serve(acme, { base: '/acme' })
    closers.push(acmeFront.close)
    const sites = new Map<string, number>()

    const internet = await serveInternet(
      {
        servers,
        exposure,
        dial: machines.dial,
        site: (address, port) => sites.get(`${address} ${port}`),
        resolve: names.resolve,
        nameserverPort: () => names.authority.port,
        control: request => answerControl(sandbox, request),
      },
      options.ports?.internet ?? 0,
    )
    closers.push(internet.close)
    sourceOf = internet.sourceOf
    const installer = writeInstaller(internet.url)
    closers.push(installer.remove)

    let oldHost: Awaited<ReturnType<typeof openOldHost>> | undefined
    closers.push(() => oldHost?.close())
    const site = (address: string, port: number, loopbackPort: number) => void sites.set(`${address} ${port}`, loopbackPort)

    const sandbox: Sandbox = {
      environment: {
        HCLOUD_ENDPOINT: hetznerFront.url,
        HCLOUD_TOKEN: SANDBOX_TOKENS.hetzner,
        DIGITALOCEAN_ENDPOINT: digitaloceanFront.url,
        DIGITALOCEAN_TOKEN: SANDBOX_TOKENS.digitalocean,
        CLOUDFLARE_BASE_URL: cloudflareFront.url,
        GITHUB_API_URL: githubFront.url,
        GITHUB_TOKEN: SANDBOX_TOKENS.github,
        VERCEL_ENDPOINT: vercelFront.url,
        VERCEL_TOKEN: SANDBOX_TOKENS.vercel,
        ACME_DIRECTORY_URL: `${acmeFront.url}/directory`,
        CLOUDFLARE_API_TOKEN: SANDBOX_TOKENS.cloudflare,
        LANDFALL_INTERNET: internet.url,
        LANDFALL_DNS: `${names.resolver.host}:${names.resolver.port}`,
        LANDFALL_CA_FILE: caFile.path,
        LANDFALL_NIXOS_ANYWHERE: installer.path,
        ...(containers ? { LANDFALL_MACHINES: 'container' } : {}),
      },
      controls: {
        hetzner: hetzner.control,
        digitalocean: digitalocean.control,
        cloudflare: cloudflare.control,
        machines: machines.control,
        github: github.control,
        vercel: vercel.control,
        dns: names.control,
        acme: acme.control,
        sites: {
          set(address, port, loopbackPort) {
            if (loopbackPort === undefined) sites.delete(`${address} ${port}`)
            else sites.set(`${address} ${port}`, loopbackPort)
          },
        },
        ...(containers ? { containers: containers.control } : {}),
      },
      ports: {
        hetzner: hetznerFront.port,
        digitalocean: digitaloceanFront.port,
        cloudflare: cloudflareFront.port,
        internet: internet.port,
        authority: names.authority.port,
        resolver: names.resolver.port,
      },
      isNew,
      settings,
      bugs,
      requests: log.all,
      instants: instants.all,
      world: () => ({
        hetzner: hetzner.control.dump(),
        digitalocean: digitalocean.control.dump(),
        cloudflare: cloudflare.control.dump(),
        machines: machines.dump(),
        bugs: bugs.map(bug => (bug instanceof Error ? (bug.stack ?? bug.message) : String(bug))),
      }),
      async openOldHost(spec) {
        await oldHost?.close()
        oldHost = await openOldHost({ store, ca, cloudflare: cloudflare.control, dns: names.control, site }, spec)
      },
      reset() {
        store.clear()
        meta.put('ca', { value: ca.saved })
        log.clear()
        instants.clear()
        names.control.flush()
        settings.faults = []
        faults.clear()
        plant(true)
        changed()
      },
      close,
    }
    changed()
    return sandbox
  } catch (error) {
    await close()
    throw error
  }
}

/** Brings the cloud up to date when its next action ends, so that no state is skipped because nobody asked. */
const createWatch = (clock: SandboxClock, clouds: readonly Pick<HetznerControl, 'settle' | 'nextEventAtMs'>[]) => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const stop = (): void => {
    clearTimeout(timer)
    timer = undefined
  }
  const next = (): void => {
    stop()
    const atMs = Math.min(...clouds.map(cloud => cloud.nextEventAtMs() ?? Number.POSITIVE_INFINITY))
    if (atMs === Number.POSITIVE_INFINITY) return
    timer = setTimeout(
      () => {
        // A change tells everybody, and that sets the next timer; a clock that stands still does not.
        const changed = clouds.map(cloud => cloud.settle())
        if (!changed.includes(true)) next()
      },
      Math.max(1, atMs - clock.nowMs()),
    )
    timer.unref()
  }
  return { next, stop }
}

type HetznerServer = ReturnType<HetznerControl['serversForMachines']>[number]

const toMachineServer = ({ id, image, ...server }: HetznerServer) => ({
  ...server,
  id: String(id),
  image: { labels: image.labels, ...(image.name === null ? {} : { name: image.name }) },
})

/** The stand-in for nixos-anywhere as a program that can be started by its path. */
const writeInstaller = (url: string): { readonly path: string; readonly remove: () => Promise<void> } => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-sandbox-'))
  const path = join(directory, 'nixos-anywhere')
  const words = [execPath, '--config=/dev/null', '--no-env-file', join(import.meta.dir, 'machines', 'nixos-anywhere.ts'), url]
  const line = words.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  writeFileSync(path, `#!/bin/sh\nexec ${line} "$@"\n`, { mode: 0o700 })
  return { path, remove: async () => rmSync(directory, { recursive: true, force: true }) }
}

/** The root certificate as a file, beside the store; in a directory of its own for a world without one. */
const writeCa = (path: string, pem: string): { readonly path: string; readonly remove: () => void } => {
  if (path === ':memory:') {
    const directory = mkdtempSync(join(tmpdir(), 'landfall-sandbox-'))
    const file = join(directory, 'ca.pem')
    writeFileSync(file, pem)
    return { path: file, remove: () => rmSync(directory, { recursive: true, force: true }) }
  }
  const directory = dirname(resolvePath(path))
  if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 })
  const file = join(directory, `${basename(path, extname(path))}-ca.pem`)
  writeFileSync(file, pem)
  return { path: file, remove: () => undefined }
}
