/** Joins the adapters into what steps act through. Heavy modules are loaded here, on first need, so that `--help` costs nothing. */

import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { keepRequestsLeft, readRequestsLeft } from './budget.ts'
import { systemClock } from './engine/clock.ts'
import type { LockHost } from './engine/lock.ts'
import { createMeter, type Meter } from './engine/meter.ts'
import { type Readers, World } from './engine/world.ts'
import type { Environment } from './environment.ts'
import { LandfallError } from './errors.ts'
import type { Estate } from './estate/estate.ts'
import { packSystemSource, ROOT, readSystemSource } from './image/source.ts'
import { userName } from './operator-keys.ts'
import type { ProviderContext, Route } from './providers/context.ts'
import type { Cloud, CloudLocks } from './providers/ports/cloud.ts'
import type { Dns } from './providers/ports/dns.ts'
import type { DokployApps } from './providers/ports/dokploy-apps.ts'
import type { Machines, Target } from './providers/ports/machine.ts'
import type { NixosAnywhere } from './providers/ports/nixos-anywhere.ts'
import type { Outside } from './providers/ports/outside.ts'
import type { Identity } from './providers/ssh/identity.ts'
import type { Secret } from './secret.ts'
import type { Deps, ServiceVariables } from './steps/deps.ts'
import { type EstateWorld, estateReaders } from './steps/world.ts'
import { createTunnels } from './tunnels.ts'

export interface ComposeOptions {
  readonly estate: Estate
  readonly environment: Environment
  /** What machines are logged in to with. */
  readonly identities: readonly Identity[]
  /** Where this estate's keys, pins and journal lie; made, with mode 0700, by whoever writes there first. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly log: (line: string) => void
  /** What files beside the config are found from. */
  readonly configPath: string
  readonly takeOver: readonly string[]
  /** Servers that may lose a NixOS that they have. */
  readonly reinstall: readonly string[]
  readonly lowMemory: boolean
}

/** A look that has begun. */
export interface Ahead {
  readonly world: World<EstateWorld>
  readonly begunAtMs: number
  /** @throws what the look has failed with so far, so that nothing is asked for again in vain */
  check(): void
}

export interface Composition {
  readonly deps: Deps
  readonly readers: Readers<EstateWorld>
  readonly locks: CloudLocks
  readonly meter: Meter
  readonly runId: string
  /** Begins a look at `slices`, so that modules load while the answers are under way. */
  lookAhead(slices: readonly (keyof EstateWorld)[], readers?: Readers<EstateWorld>): Ahead
  /** Loads what only a run with changes needs. */
  warmUp(): void
  /** For adapters that only some commands need. */
  readonly parts: { readonly context: ProviderContext; readonly environment: Environment }
  /** What lives in the Dokploy on a machine, through the same tunnel as the panel. */
  appsOn(target: Target, apiKey: Secret): Promise<DokployApps>
  /** Called before each mutating request from now on. */
  guardWrites(guard: () => Promise<void>): void
  close(): Promise<void>
}

const HCLOUD_HINT =
  'Make one at console.hetzner.cloud → your project → Security → API tokens, with Read & Write, then: export HCLOUD_TOKEN=…  ' +
  '(or rehearse without any account: add --sandbox)'
const DIGITALOCEAN_HINT =
  'Make one at cloud.digitalocean.com → API → Tokens, with full access, then: export DIGITALOCEAN_TOKEN=…  ' +
  '(or rehearse without any account: add --sandbox)'
const CLOUDFLARE_HINT =
  'Make one at dash.cloudflare.com → My Profile → API Tokens with Zone → Zone → Read and Zone → DNS → Edit on this one zone, then: ' +
  'export CLOUDFLARE_API_TOKEN=…'

const notConfigured = (what: string, hint: string) => (): never => {
  throw new LandfallError('token_missing', `${what} is not set.`, { hint })
}

/** A port whose token is missing: using any part of it says which variable to set. */
function missing<T extends object>(what: string, hint: string): T {
  return new Proxy({} as T, { get: (_, key) => (key === 'then' ? undefined : notConfigured(what, hint)) })
}

export async function compose(options: ComposeOptions): Promise<Composition> {
  const { estate, environment, directory } = options
  const meter = createMeter()
  const runId = newRunId()
  let guard: () => Promise<void> = async () => {}
  const context: ProviderContext = {
    clock: systemClock,
    meter,
    signal: options.signal,
    random: Math.random,
    log: options.log,
    beforeWrite: () => guard(),
  }
  const route: Route = environment.internet ? { kind: 'proxy', ...environment.internet } : { kind: 'direct' }

  const { cloud, locks, requestsLeft } = await composeCloud(estate, environment, context, directory)
  const dns = composeDns(estate, environment, context)
  const machines = composeMachines(options.identities, directory, route, context)
  const outside = composeOutside(environment, route, context)

  const tunnels = createTunnels(machines)
  const panelOn: Deps['panelOn'] = async target => {
    const [baseUrl, { createDokploy }] = await Promise.all([
      tunnels.to(target, DOKPLOY_PORT),
      import('./providers/dokploy/dokploy.ts'),
    ])
    return createDokploy({ baseUrl, context })
  }
  const appsOn: Composition['appsOn'] = async (target, apiKey) => {
    const [baseUrl, { createDokployApps }] = await Promise.all([
      tunnels.to(target, DOKPLOY_PORT),
      import('./providers/dokploy/apps.ts'),
    ])
    return createDokployApps({ baseUrl, apiKey, context })
  }

  const deps: Deps = {
    estate,
    runId,
    clock: systemClock,
    cloud,
    dns,
    readsNames: estate.dns !== undefined && environment.cloudflareToken !== undefined,
    machines,
    get programs() {
      // At once, because a program is chosen without waiting, and only here, because most commands send none.
      const { PROGRAM_TEXTS }: typeof import('./providers/ssh/programs.ts') = require('./providers/ssh/programs.ts')
      return PROGRAM_TEXTS
    },
    panelOn,
    outside,
    nixos: {
      installer: composeInstaller(environment, options.identities, directory),
      flake: lazySource(),
      reinstall: options.reinstall,
      lowMemory: options.lowMemory,
    },
    serviceVariables: () => readServiceVariables(estate, options.configPath),
    takeOver: options.takeOver,
  }
  const readers: Readers<EstateWorld> = {
    ...estateReaders(estate, {
      cloud,
      dns,
      machines: lazy(async () => (await import('./steps/machine.ts')).createMachineReader(deps)),
      panels: lazy(async () => (await import('./steps/panel.ts')).createPanelReader(deps)),
      swarms: lazy(async () => (await import('./steps/swarm-world.ts')).createSwarmReader(deps)),
      outside: lazy(async () => (await import('./steps/outside.ts')).createOutsideReader(deps)),
      installer: deps.nixos.installer,
      services: lazy(async () => (await import('./steps/service.ts')).createServiceReader(deps)),
      ownAddresses: () => outside.findOwnAddresses(),
    }),
    async moves() {
      const { openMoveStore, readMoves } = await import('./cutover/store.ts')
      return readMoves(openMoveStore(directory))
    },
  }
  return {
    deps,
    readers,
    locks,
    meter,
    runId,
    lookAhead(slices, given = readers) {
      const world = new World(given)
      let failure: { readonly error: unknown } | undefined
      const begunAtMs = context.clock.monotonicMs()
      world.look(slices).catch((error: unknown) => {
        failure = { error }
      })
      const check = () => {
        if (failure) throw failure.error
      }
      return { world, begunAtMs, check }
    },
    warmUp() {
      // Whoever needs it imports it again, and is told when that fails.
      Promise.allSettled([import('./engine/lock.ts'), import('./engine/journal.ts'), import('./engine/runner.ts')])
    },
    parts: { context, environment },
    appsOn,
    guardWrites: next => {
      guard = next
    },
    async close() {
      await keepRequestsLeft(directory, requestsLeft?.(), context.clock.nowMs())
      await tunnels.close()
    },
  }
}

const DOKPLOY_PORT = 3000

/** Sortable, unique, and within the label grammar. */
const newRunId = (): string =>
  `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}-${randomUUID().slice(0, 8)}`

/** The estate's cloud with its locks; with a token that is missing, every use of them says so. */
export async function composeCloud(
  estate: Estate,
  environment: Environment,
  context: ProviderContext,
  directory: string,
): Promise<{ cloud: Cloud; locks: CloudLocks; requestsLeft?: () => number | undefined }> {
  if (estate.cloud === 'digitalocean') return composeDigitalOcean(estate, environment, context)
  const token = environment.hcloudToken
  if (!token)
    return { cloud: missing<Cloud>('HCLOUD_TOKEN', HCLOUD_HINT), locks: missing<CloudLocks>('HCLOUD_TOKEN', HCLOUD_HINT) }
  const { createHetzner } = await import('./providers/hetzner/hetzner.ts')
  const requestsLeft = readRequestsLeft(directory, context.clock.nowMs())
  const hetzner = createHetzner({
    token,
    context,
    likelyServers: estate.servers.length,
    ...(requestsLeft === undefined ? {} : { requestsLeft }),
    ...(environment.hcloudEndpoint ? { endpoint: environment.hcloudEndpoint } : {}),
  })
  return { cloud: hetzner, locks: hetzner.locks, requestsLeft: hetzner.requestsLeft }
}

const assumedPrices = ({ assumedPrices: prices }: Estate): NonNullable<Estate['assumedPrices']> => {
  if (!prices) throw new Error('bug: an estate at DigitalOcean has no assumed prices')
  return prices
}

async function composeDigitalOcean(estate: Estate, environment: Environment, context: ProviderContext) {
  const token = environment.digitaloceanToken
  const name = 'DIGITALOCEAN_TOKEN'
  if (!token) return { cloud: missing<Cloud>(name, DIGITALOCEAN_HINT), locks: missing<CloudLocks>(name, DIGITALOCEAN_HINT) }
  const { createDigitalOcean } = await import('./providers/digitalocean/digitalocean.ts')
  const endpoint = environment.digitaloceanEndpoint ? { endpoint: environment.digitaloceanEndpoint } : {}
  const digitalocean = createDigitalOcean({ token, context, prices: assumedPrices(estate), ...endpoint })
  return { cloud: digitalocean, locks: digitalocean.locks }
}

function composeDns(estate: Estate, environment: Environment, context: ProviderContext): Dns {
  const token = environment.cloudflareToken
  if (!token || !estate.dns) return missing<Dns>('CLOUDFLARE_API_TOKEN', CLOUDFLARE_HINT)
  const endpoint = environment.cloudflareBaseUrl ?? checkedBaseUrl(estate)
  return lazy(async () => {
    const { createCloudflare } = await import('./providers/cloudflare/cloudflare.ts')
    return createCloudflare({ token, context, ...(endpoint ? { endpoint } : {}) })
  })
}

function composeOutside(environment: Environment, route: Route, context: ProviderContext): Outside {
  const { internet, resolver, caFile } = environment
  return lazy(async () => {
    const { createOutside } = await import('./providers/outside/outside.ts')
    return createOutside({
      route,
      context,
      ...(resolver ? { resolver } : {}),
      ...(caFile ? { caPem: readFileSync(caFile, 'utf8') } : {}),
      ...(internet ? { whoamiUrl: `http://${internet.host}:${internet.port}/whoami{family}` } : {}),
    })
  })
}

const CLOUDFLARE_HOST = 'api.cloudflare.com'

/** A config file may not send the token to another host: only the environment may. */
function checkedBaseUrl(estate: Estate): string | undefined {
  if (!estate.cloudflareBaseUrl || new URL(estate.cloudflareBaseUrl).host === CLOUDFLARE_HOST) return estate.cloudflareBaseUrl
  throw new LandfallError(
    'refused',
    `config.json would send the Cloudflare token to ${new URL(estate.cloudflareBaseUrl).host}.`,
    {
      hint: `If that is what you want, say it in the environment: export CLOUDFLARE_BASE_URL=${estate.cloudflareBaseUrl}`,
    },
  )
}

/** The service's env file, read where there is one. */
async function readServiceVariables(estate: Estate, configPath: string): Promise<ServiceVariables> {
  const path = estate.servers.find(spec => spec.service)?.service?.envFile
  if (path === undefined) return { state: 'known', variables: [] }
  const [{ isBeside, readBeside }, { parseEnv }] = await Promise.all([
    import('./apps/inputs.ts'),
    import('./providers/dokploy/dotenv.ts'),
  ])
  if (!isBeside(configPath, path))
    return { state: 'missing', why: `service.env_file: ${path} is not there`, hint: `Put it beside ${configPath}.` }
  const entries = parseEnv(readBeside(configPath, path, 'service.env_file:'))
  return { state: 'known', variables: entries.map(([name, value]) => [name, value.reveal()]) }
}

/** Read with its first use: most commands have none for it. */
function lazySource(): Deps['nixos']['flake'] {
  let source: ReturnType<typeof readSystemSource> | undefined
  const read = () => {
    source ??= readSystemSource(ROOT)
    return source
  }
  return {
    directory: ROOT,
    get content() {
      return read().content
    },
    get untracked() {
      return read().untracked
    },
    archive: () => packSystemSource(ROOT),
  }
}

function composeInstaller(environment: Environment, identities: readonly Identity[], directory: string): NixosAnywhere {
  return lazy(async () => {
    const [{ createNixosAnywhere }, { agentKeysOf, filesOf }] = await Promise.all([
      import('./providers/nixos-anywhere/nixos-anywhere.ts'),
      import('./providers/ssh/identity.ts'),
    ])
    const [identityFile] = filesOf(identities)
    return createNixosAnywhere({
      directory,
      variables: environment.programs,
      agentKeys: agentKeysOf(identities),
      ...(identityFile ? { identityFile } : {}),
      ...(environment.nixosAnywhere ? { command: environment.nixosAnywhere } : {}),
    })
  })
}

const composeMachines = (identities: readonly Identity[], directory: string, route: Route, context: ProviderContext): Machines =>
  lazy(async () => {
    const { createMachines } = await import('./providers/ssh/ssh.ts')
    return createMachines({ directory, route, context, identities })
  })

/** A port that is loaded with its first call; every method of a port answers with a promise, so nobody can tell. */
function lazy<T extends object>(load: () => Promise<T>): T {
  let port: Promise<T> | undefined
  return new Proxy({} as T, {
    get(_, key) {
      // Awaiting the proxy itself must not load it.
      if (key === 'then') return undefined
      return async (...values: unknown[]) => {
        port ??= load()
        const method: unknown = Reflect.get(await port, key)
        if (typeof method !== 'function') throw new Error(`bug: the port has no method ${String(key)}`)
        return method(...values)
      }
    },
  })
}

const testContext = ({ signal, log }: Pick<ProviderContext, 'signal' | 'log'>): ProviderContext => ({
  clock: systemClock,
  meter: createMeter(),
  signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]),
  random: Math.random,
  log,
  beforeWrite: async () => {},
})

/** One or two cheap requests each, to tell a wrong token the moment it is typed; sent where the run's own will be sent. */
export const testTokens = (
  { hcloudEndpoint, digitaloceanEndpoint, cloudflareBaseUrl }: Environment,
  given: Pick<ProviderContext, 'signal' | 'log'>,
) => ({
  async hetzner(token: Secret): Promise<void> {
    const { createHetzner } = await import('./providers/hetzner/hetzner.ts')
    const endpoint = hcloudEndpoint ? { endpoint: hcloudEndpoint } : {}
    const hetzner = createHetzner({ token, context: testContext(given), ...endpoint })
    await hetzner.verifyToken()
    await hetzner.probeWrite()
  },
  async digitalocean(token: Secret): Promise<void> {
    const { createDigitalOcean } = await import('./providers/digitalocean/digitalocean.ts')
    const endpoint = digitaloceanEndpoint ? { endpoint: digitaloceanEndpoint } : {}
    // Nothing is priced here.
    const prices = { snapshotGbMonth: 0, volumeGbMonth: 0, backupPercent: 0 }
    const digitalocean = createDigitalOcean({ token, context: testContext(given), prices, ...endpoint })
    await digitalocean.verifyToken()
    await digitalocean.probeWrite()
  },
  async cloudflare(token: Secret): Promise<void> {
    const { createCloudflare } = await import('./providers/cloudflare/cloudflare.ts')
    const endpoint = cloudflareBaseUrl ? { endpoint: cloudflareBaseUrl } : {}
    await createCloudflare({ token, context: testContext(given), ...endpoint }).verifyToken()
  },
})

/** Who runs this, for the lock and the journal. */
export function describeHost(): LockHost {
  const read = (path: string): string[] => (existsSync(path) ? [readFileSync(path, 'utf8').trim()] : [])
  // Two processes see each other's pids only in one boot of one machine, and in one pid namespace.
  const namespace = existsSync('/proc/self/ns/pid') ? [readlinkSync('/proc/self/ns/pid')] : []
  const identity = [hostname(), ...read('/etc/machine-id'), ...read('/proc/sys/kernel/random/boot_id'), ...namespace]
  return {
    who: `${userName()}@${hostname()}`,
    hostId: createHash('sha256').update(identity.join(' ')).digest('hex').slice(0, 16),
    pid: process.pid,
    isPidAlive,
  }
}

function isPidAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
