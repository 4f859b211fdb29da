/** Dokploy on a machine: installed, healthy, owned by us, served under its name. All of it through the SSH tunnel. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { DokploySpec, ServerSpec } from '../estate/estate.ts'
import { LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { PanelSettings } from '../providers/ports/dokploy.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import type { Deps, EstateStep } from './deps.ts'
import { install } from './install.ts'
import { type MachineState, runProgram, targetOf } from './machine.ts'
import { hasNixos, readyStep } from './nixos.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export type PanelState =
  | { readonly state: 'down'; readonly why: string }
  | {
      readonly state: 'up'
      /** `foreign`: somebody registered before us, or the login kept on the machine is not accepted. */
      readonly admin: 'none' | 'ours' | 'foreign'
      readonly version?: string
      readonly settings?: PanelSettings
    }

export interface PanelReader {
  read(spec: ServerSpec, server: Server, machine: MachineState | undefined): Promise<PanelState>
}

type PanelDeps = Pick<Deps, 'estate' | 'machines' | 'programs' | 'panelOn' | 'clock' | 'cloud'>

interface Login {
  readonly email: string
  readonly password: Secret
  readonly apiKey?: Secret
}

/** Exit code of `read-dokploy-login` when nothing is kept yet. */
const NO_LOGIN = 4
/** What our API key is called in the panel. */
export const KEY_NAME = 'landfall'

/** The login kept on the machine, readable by its root alone: whoever may log in there owns Dokploy anyway. */
export async function readLogin(deps: Pick<Deps, 'machines' | 'programs'>, target: Target): Promise<Login | undefined> {
  const result = await deps.machines.run(target, deps.programs['read-dokploy-login'])
  if (result.exitCode === NO_LOGIN) return undefined
  if (result.exitCode !== 0)
    throw new LandfallError('vendor', `The login kept on ${target.name} can't be read (exit code ${result.exitCode}).`)
  const values = new Map(
    result.stdout.split('\n').flatMap(line => {
      const [name, encoded] = line.split(' ')
      return name && encoded ? [[name, Buffer.from(encoded, 'base64').toString('utf8')] as const] : []
    }),
  )
  const password = values.get('PASSWORD')
  if (!password) return undefined
  const apiKey = values.get('API_KEY')
  return {
    email: values.get('EMAIL') ?? '',
    password: new Secret(`Dokploy password of ${target.name}`, password),
    ...(apiKey ? { apiKey: new Secret(`Dokploy API key of ${target.name}`, apiKey) } : {}),
  }
}

export function createPanelReader(deps: Omit<PanelDeps, 'clock' | 'cloud'>): PanelReader {
  return {
    async read(_spec, server, machine) {
      if (machine?.state !== 'ready') return { state: 'down', why: 'the machine does not answer' }
      if (machine.facts.dokploy !== 'installed') return { state: 'down', why: `Dokploy is ${machine.facts.dokploy}` }
      const target = targetOf(deps.estate.name, server)
      if (!target || machine.trust !== 'pinned') return { state: 'down', why: 'the machine is not trusted yet' }
      return readPanel(deps, target)
    },
  }
}

async function readPanel(deps: Omit<PanelDeps, 'clock' | 'cloud'>, target: Target): Promise<PanelState> {
  const panel = await deps.panelOn(target)
  const health = await panel.health()
  if (health !== 'up') return { state: 'down', why: health === 'starting' ? 'Dokploy is starting' : 'Dokploy does not answer' }
  const [hasAdmin, login] = await Promise.all([panel.hasAdmin(), readLogin(deps, target)])
  if (!hasAdmin) return { state: 'up', admin: 'none' }
  if (!login) return { state: 'up', admin: 'foreign' }
  // Ours, but the key was never written down: claiming again signs in and makes a new one.
  if (!login.apiKey || (await panel.checkKey(login.apiKey)) === 'invalid') return { state: 'up', admin: 'none' }
  const [version, settings] = await Promise.all([panel.version(login.apiKey), panel.readPanel(login.apiKey)])
  return { state: 'up', admin: 'ours', version, settings }
}

const START_TIMEOUT_MS = 5 * 60_000
const POLL_MS = 2_000
/** Must not meet the private network (network.range) nor Docker's own bridge. */
export const SWARM_POOL = '172.29.0.0/16'

export interface DokployServer extends ServerSpec {
  readonly dokploy: DokploySpec
}

export const hasDokploy = (spec: ServerSpec): spec is DokployServer => spec.dokploy !== undefined

/** Dokploy answers on the machine's loopback and its database does too. */
export function dokployStep(deps: PanelDeps, spec: DokployServer): EstateStep {
  // A system that Landfall builds brings Dokploy itself.
  const stock = spec.image.kind === 'system' && !hasNixos(spec)
  const wait = { kind: 'wait', summary: `wait until Dokploy on ${spec.name} is healthy` } as const
  // In the same words before and after the machine is known: what a plan announced is what a later look may do.
  const install = {
    kind: 'create',
    summary: `install Dokploy ${spec.dokploy.version} on ${spec.name} over SSH (usually 3 to 6 minutes)`,
  } as const
  const later = stock ? install : wait
  return {
    id: `dokploy ${spec.name}`,
    noun: 'dokploy',
    title: `Dokploy on ${spec.name} is healthy`,
    needs: [readyStep(spec)],
    reads: ['servers', 'machines', 'panels'],
    typicalMs: stock ? 240_000 : 40_000,
    look(world) {
      const machine = world.get('machines')[spec.name]
      if (machine?.state !== 'ready' || machine.trust !== 'pinned') return blocked(`machine ${spec.name}`, later)
      if (hasNixos(spec) && machine.facts.system !== 'nixos') return blocked(`system ${spec.name}`, later)
      const panel = world.get('panels')[spec.name]
      if (panel?.state === 'up') return done(panel.version ? `version ${panel.version}` : 'healthy')
      const isMissing = !hasNixos(spec) && machine.facts.dokploy !== 'installed'
      return todo({
        ...(isMissing ? install : wait),
        ...(isMissing ? { details: ['Docker from the distribution, one-node swarm, Postgres, Dokploy, Traefik'] } : {}),
        apply: async ({ world: live, signal, log }) => {
          const target = liveTarget(deps, spec, live)
          if (isMissing) await installDokploy(deps, spec, live, target, signal, log)
          await waitHealthy(deps, spec, target, signal, log)
          const facts = { ...machine.facts, dokploy: 'installed' as const }
          const state = await readPanel(deps, target)
          live.update('machines', all => ({ ...all, [spec.name]: { ...machine, facts } }))
          live.update('panels', all => ({ ...all, [spec.name]: state }))
        },
      })
    },
  }
}

/** The machine that the world holds now. @throws LandfallError not_found */
export function liveTarget(deps: Pick<Deps, 'estate'>, spec: ServerSpec, live: World<EstateWorld>): Target {
  const server = findServer(deps.estate.name, spec.name, live.get('servers'))
  const target = server && targetOf(deps.estate.name, server, LABEL_KEYS.hostKey)
  if (!target) throw new LandfallError('not_found', `${spec.name} has no address or no pinned host key.`)
  return target
}

async function installDokploy(
  deps: PanelDeps,
  spec: DokployServer,
  live: World<EstateWorld>,
  target: Target,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const servers = spec.network ? await deps.cloud.listServers() : live.get('servers')
  // The answer to a create does not hold the private address yet.
  if (spec.network) live.update('servers', () => servers)
  const advertise = findServer(deps.estate.name, spec.name, servers)?.privateIps[0]?.ip ?? target.address
  const input = { VERSION: spec.dokploy.version, ADVERTISE_ADDR: advertise, POOL: SWARM_POOL }
  await install(
    deps,
    target,
    { what: 'Dokploy', start: 'start-dokploy-install', watch: 'watch-dokploy-install', input },
    signal,
    log,
  )
}

async function waitHealthy(
  deps: PanelDeps,
  spec: ServerSpec,
  target: Target,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + START_TIMEOUT_MS
  log('waiting for the health route')
  for (;;) {
    try {
      const panel = await deps.panelOn(target)
      if ((await panel.health()) === 'up') return
    } catch (error) {
      // While the panel starts, nothing listens at the tunnel's far end.
      if (!hasCode(error, 'network', 'timeout')) throw error
    }
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `Dokploy on ${spec.name} did not become healthy within ${START_TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: `See what it does: bun scripts/status.ts --machine ${spec.name}`,
        },
      )
    await deps.clock.sleep(POLL_MS / 2, signal)
  }
}

/** The first admin is ours, made through the tunnel, and its key is kept on the machine. */
export function ownerStep(deps: PanelDeps, spec: DokployServer): EstateStep {
  const claim = {
    kind: 'create',
    summary: `make ${spec.dokploy.adminEmail} the first admin of Dokploy on ${spec.name}, with an API key`,
  } as const
  return {
    id: `dokploy ${spec.name} owner`,
    noun: 'dokploy',
    title: `Dokploy on ${spec.name} belongs to us`,
    needs: [`dokploy ${spec.name}`],
    reads: ['servers', 'machines', 'panels'],
    look(world) {
      const panel = world.get('panels')[spec.name]
      if (panel?.state !== 'up') return blocked(`Dokploy on ${spec.name}`, claim)
      if (panel.admin === 'ours') return done(spec.dokploy.adminEmail)
      if (panel.admin === 'foreign')
        return refused(
          `Dokploy on ${spec.name} already has an admin, and no login of ours is kept on the machine.`,
          `If you registered it in the browser, give Landfall its login: bun scripts/dokploy.ts adopt ${spec.name} — otherwise somebody else owns this server: rebuild it.`,
        )
      return todo({
        ...claim,
        details: [`login kept in /etc/landfall/dokploy-login on ${spec.name}, readable by root alone`],
        async apply({ world: live, signal, log }) {
          const target = liveTarget(deps, spec, live)
          const kept = await readLogin(deps, target)
          const login = kept ?? {
            email: spec.dokploy.adminEmail,
            password: new Secret(`Dokploy password of ${spec.name}`, newPassword()),
          }
          // Written before the sign-up: a run that ends in between finds the password and signs in.
          if (!kept)
            await runProgram(deps, target, 'write-dokploy-login', { EMAIL: login.email, PASSWORD: login.password }, signal)
          const panelApi = await deps.panelOn(target)
          log('signing up')
          const { apiKey } = await panelApi.claim({ email: login.email, password: login.password, keyName: KEY_NAME })
          await runProgram(deps, target, 'write-dokploy-login', { API_KEY: apiKey }, signal)
          const [version, settings] = await Promise.all([panelApi.version(apiKey), panelApi.readPanel(apiKey)])
          live.update('panels', all => ({ ...all, [spec.name]: { state: 'up', admin: 'ours', version, settings } }))
        },
      })
    },
  }
}

/** 24 random bytes, in the URL alphabet. */
const newPassword = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('base64url')

const NAME_TIMEOUT_MS = 3 * 60_000

/** The panel is served under its own name, over HTTPS. Its certificate is asked for only when DNS answers: failures are rationed. */
export function panelNameStep(deps: PanelDeps & Pick<Deps, 'outside'>, spec: DokployServer, host: string): EstateStep {
  const { estate } = deps
  const zone = estate.dns?.zone ?? host
  const change = { kind: 'change', summary: `serve the panel of ${spec.name} at https://${host}` } as const
  return {
    id: `panel ${host}`,
    noun: 'dokploy',
    title: `the panel is served at https://${host}`,
    needs: [`dokploy ${spec.name} owner`, `dns ${host}`],
    reads: ['servers', 'panels'],
    look(world) {
      const panel = world.get('panels')[spec.name]
      if (panel?.state !== 'up' || panel.admin !== 'ours') return blocked(`the first admin of ${spec.name}`, change)
      if (panel.settings?.host === host && panel.settings.https) return done(`https://${host}`)
      return todo({
        ...change,
        details: [
          panel.settings?.host
            ? `instead of ${panel.settings.host}`
            : `certificate from Let's Encrypt for ${spec.dokploy.adminEmail}`,
        ],
        async apply({ world: live, signal, log }) {
          const server = findServer(estate.name, spec.name, live.get('servers'))
          const target = liveTarget(deps, spec, live)
          const isProxied = estate.dns?.records.some(record => record.name === host && record.proxied) ?? false
          // A proxied name has the proxy's addresses.
          if (isProxied) await waitAuthoritative(deps, zone, host, undefined, signal, log)
          else if (server?.ipv4) await waitAuthoritative(deps, zone, host, server.ipv4, signal, log)
          const login = await readLogin(deps, target)
          if (!login?.apiKey)
            throw new LandfallError('not_found', `The API key of Dokploy on ${spec.name} is not kept on the machine any more.`)
          const api = await deps.panelOn(target)
          if (server?.ipv4) await api.setServerIp(login.apiKey, server.ipv4)
          await api.assignPanelHost(login.apiKey, { host, letsEncryptEmail: spec.dokploy.adminEmail })
          const settings = await api.readPanel(login.apiKey)
          live.update('panels', all => ({ ...all, [spec.name]: { ...panel, settings } }))
        },
      })
    },
  }
}

/**
 * Waits until every authoritative server gives `address` for `host`, or any address when it is undefined.
 * @throws LandfallError timeout naming the servers that do not
 */
async function waitAuthoritative(
  deps: Pick<Deps, 'outside' | 'clock'>,
  zone: string,
  host: string,
  address: string | undefined,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + NAME_TIMEOUT_MS
  for (;;) {
    const answers = await deps.outside.askAuthoritative(zone, host, 'A')
    const isKnown = (values: readonly string[]) => (address === undefined ? values.length > 0 : values.includes(address))
    const wrong = answers.filter(each => each.status !== 'ok' || !isKnown(each.values))
    if (answers.length > 0 && wrong.length === 0) return
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `${host} does not resolve${address === undefined ? '' : ` to ${address}`} at ${wrong.map(each => `${each.server} (${each.status})`).join(', ') || 'any authoritative server'}.`,
        { hint: `Check the zone's delegation, then: bun scripts/dns.ts` },
      )
    log(`waiting for the authoritative servers to know ${host}`)
    await deps.clock.sleep(POLL_MS, signal)
  }
}
