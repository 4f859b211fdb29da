/** Servers: made once, adopted after a lost answer, waited for until they run, and gone when we say so. */

import { LandfallError } from '../../errors.ts'
import type { Cloud, CreateServer, Server } from '../ports/cloud.ts'
import { act, type Created, createNamed, type Deps, findOwn, track } from './deps.ts'
import {
  actionsIn,
  firstAddress,
  idToWire,
  labelsFromWire,
  objectIn,
  type WireAction,
  type WireId,
  type WireNamed,
} from './wire.ts'

type Servers = Pick<
  Cloud,
  | 'listServers'
  | 'createServer'
  | 'setServerLabels'
  | 'attachNetwork'
  | 'powerOn'
  | 'setServerType'
  | 'waitServerRunning'
  | 'deleteServer'
>

/** How long a server may take until it runs, after its actions have ended. */
const RUNNING_WITHIN_MS = 15 * 60_000
/** After this long every list knows a new server; one that its create and start take longer for is never read just for that. */
const LISTED_WITHIN_MS = 3_000
/** How long an accepted server may take until it has its addresses. */
const ADDRESSES_WITHIN_MS = 60_000
/** How long a guest gets before it is powered off. */
const SHUTDOWN_WITHIN_MS = 60_000

export function createServers(deps: Deps): Servers {
  const { calls, context, likelyServers } = deps
  const { clock } = context
  /** What is still going on for the servers that this process made. */
  const creates = new Map<string, Pick<Created<WireServer>, 'actions' | 'receivedAtMs'> & { readonly server: Server }>()

  let asking: Promise<ReadonlySet<string>> | undefined
  /** Ids of servers that are off; one request for all that ask before it can be sent. */
  const findOff = (): Promise<ReadonlySet<string>> => {
    asking ??= calls.idle('last', context.signal).then(async () => {
      asking = undefined
      const request = { what: 'look for servers that are off', path: '/servers', query: [['status', 'off']] } as const
      const { value } = await calls.list<WireServer>(request, 'servers')
      return new Set(value.map(each => String(each.id)))
    })
    return asking
  }

  const readServer = async (id: string, signal?: AbortSignal): Promise<Server> => {
    const request = {
      what: `read server ${id}`,
      method: 'GET',
      path: pathOf(id),
      ...(signal === undefined ? {} : { signal }),
    } as const
    const { value } = await calls.call(request, json => objectIn<WireServer>(json, 'server'))
    return serverFromWire(value)
  }

  /** Reads the server again and again, less and less often, until `enough` is content. */
  const readUntil = async (
    id: string,
    input: { readonly what: string; readonly withinMs: number; readonly signal?: AbortSignal },
    enough: (server: Server) => boolean | Promise<boolean>,
  ): Promise<Server> => {
    const signal = input.signal === undefined ? context.signal : AbortSignal.any([context.signal, input.signal])
    const deadlineAtMs = clock.monotonicMs() + input.withinMs
    for (let pauseMs = 500; ; pauseMs = Math.min(5_000, pauseMs * 1.5)) {
      const server = await readServer(id, input.signal)
      if (await enough(server)) return server
      if (clock.monotonicMs() >= deadlineAtMs) {
        throw new LandfallError(
          'timeout',
          `Could not ${input.what}: server ${server.name} is "${server.status}" after ${Math.round(input.withinMs / 60_000)} min.`,
          { hint: `Look at ${server.name} in the Hetzner Console, then run the same command again.` },
        )
      }
      await clock.sleep(pauseMs, signal)
    }
  }

  /** The server that an earlier, unanswered try made, and what is still going on for it. */
  const findMade = async (input: CreateServer): Promise<Created<WireServer> | undefined> => {
    const place = { what: `server ${input.name}`, path: '/servers', key: 'servers' }
    const made = await findOwn<WireServer>(deps, { ...place, name: input.name, labels: input.labels })
    if (made === undefined) return undefined
    const running = await calls.list<WireAction>(
      {
        what: `list the actions of server ${input.name}`,
        path: `${pathOf(String(made.object.id))}/actions`,
        query: [['status', 'running']],
      },
      'actions',
    )
    return { ...made, actions: running.value, receivedAtMs: running.receivedAtMs }
  }

  const powerOn = (id: string, signal?: AbortSignal): Promise<void> =>
    act(deps, {
      what: `power on server ${id}`,
      path: `${pathOf(id)}/actions/poweron`,
      ...(signal === undefined ? {} : { signal }),
    })

  const waitServerRunning: Servers['waitServerRunning'] = async (id, signal) => {
    const what = `start server ${id}`
    const create = creates.get(id)
    if (create) {
      // An action that failed has been told; the next wait looks at the server itself.
      creates.delete(id)
      await track(deps, create.actions, { what, order: 'chain', receivedAtMs: create.receivedAtMs, signal })
      // A server may end off although its start succeeded; asking that once for many is cheaper than reading each. A list's silence says
      // nothing about one that it may not know yet.
      const isListed = clock.monotonicMs() - create.receivedAtMs >= LISTED_WITHIN_MS
      if (isListed && !(await findOff()).has(id)) {
        // Its actions succeeded, and applying the firewalls is one of them.
        const { pendingFirewallIds: _, ...server } = create.server
        return { ...server, status: 'running', locked: false }
      }
    }
    let poweredOn = false
    return readUntil(id, { what, withinMs: RUNNING_WITHIN_MS, signal }, async server => {
      if (server.status === 'deleting') {
        throw new LandfallError('unhealthy', `Could not ${what}: server ${server.name} is being deleted.`, {
          hint: 'Run the same command again when it is gone.',
        })
      }
      if (server.status === 'off' && !server.locked && server.pendingFirewallIds) {
        throw new LandfallError('unhealthy', `Could not ${what}: ${server.name} is off and its firewall is not in force.`, {
          hint: 'Run the same command again: it puts the firewall into force first.',
        })
      }
      if (server.status === 'off' && !server.locked && !poweredOn) {
        poweredOn = true
        context.log(`hetzner: server ${server.name} ended up off; powering it on`)
        await powerOn(id, signal)
      }
      return server.status === 'running'
    })
  }

  /** A guest that reacts to the shutdown is off soon; the vendor tells only that the signal was sent. */
  const powerOff = async (id: string, signal: AbortSignal): Promise<void> => {
    if ((await readServer(id, signal)).status === 'off') return
    await act(deps, { what: `shut down server ${id}`, path: `${pathOf(id)}/actions/shutdown`, signal })
    const deadlineAtMs = clock.monotonicMs() + SHUTDOWN_WITHIN_MS
    while (clock.monotonicMs() < deadlineAtMs) {
      if ((await readServer(id, signal)).status === 'off') return
      await clock.sleep(2_000, signal)
    }
    context.log(`hetzner: server ${id} does not shut down; powering it off`)
    await act(deps, { what: `power off server ${id}`, path: `${pathOf(id)}/actions/poweroff`, signal })
  }

  return {
    async listServers() {
      const { value } = await calls.list<WireServer>({ what: 'list servers', path: '/servers' }, 'servers', likelyServers)
      return value.map(serverFromWire)
    },

    async createServer(input) {
      const what = `server ${input.name}`
      const { object, actions, receivedAtMs } = await createNamed<WireServer>(deps, {
        what,
        path: '/servers',
        key: 'server',
        body: createToWire(input),
        find: () => findMade(input),
      })
      const server = serverFromWire(object)
      creates.set(server.id, { actions, receivedAtMs, server })
      if (hasAddresses(server, input)) return server
      return readUntil(server.id, { what: `learn the addresses of ${what}`, withinMs: ADDRESSES_WITHIN_MS }, now =>
        hasAddresses(now, input),
      )
    },

    async setServerLabels(id, labels) {
      await calls.call({ what: `label server ${id}`, method: 'PUT', path: pathOf(id), body: { labels } }, () => undefined)
    },

    async attachNetwork(id, network) {
      const what = `put server ${id} into network ${network}`
      try {
        await act(deps, { what, path: `${pathOf(id)}/actions/attach_to_network`, body: { network: idToWire(network) } })
      } catch (error) {
        if (!(error instanceof LandfallError) || error.vendorCode !== 'server_already_attached') throw error
      }
      return readServer(id)
    },

    powerOn: id => powerOn(id),

    async setServerType(id, type, signal) {
      const what = `change server ${id} to ${type}`
      await powerOff(id, signal)
      try {
        const body = { server_type: type, upgrade_disk: false }
        await act(deps, { what, path: `${pathOf(id)}/actions/change_type`, body, signal })
      } catch (error) {
        // An earlier run's change may have ended meanwhile, or the answer to this one was lost.
        if ((await readServer(id, signal)).type !== type) {
          // Whatever the vendor says about the type, a server that ran is not left off.
          await powerOn(id, signal)
          throw error
        }
      }
      return waitServerRunning(id, signal)
    },

    waitServerRunning,

    async deleteServer(id) {
      const what = `delete server ${id}`
      const answer = await calls.remove({ what, path: pathOf(id) }, actionsIn)
      creates.delete(id)
      if (answer) await track(deps, answer.value, { what, order: 'together', receivedAtMs: answer.receivedAtMs })
    },
  }
}

const pathOf = (id: string): string => `/servers/${encodeURIComponent(id)}`

const hasAddresses = (server: Server, input: CreateServer): boolean =>
  (input.ipv4 === 'none' || server.ipv4 !== undefined) && (input.ipv6 === 'none' || server.ipv6 !== undefined)

interface WireServer extends WireNamed {
  readonly status?: string | null
  readonly public_net?: {
    readonly ipv4?: { readonly ip?: string | null } | null
    readonly ipv6?: { readonly ip?: string | null } | null
    readonly firewalls?: readonly { readonly id: WireId; readonly status?: string | null }[] | null
  } | null
  readonly private_net?: readonly { readonly network?: WireId | null; readonly ip?: string | null }[] | null
  readonly primary_disk_size?: number | null
  readonly server_type?: { readonly name?: string | null } | null
  readonly location?: { readonly name?: string | null } | null
  readonly image?: { readonly id: WireId } | null
  readonly placement_group?: { readonly id: WireId } | null
  readonly locked?: boolean | null
  readonly protection?: { readonly delete?: boolean | null } | null
}

const STATES: Readonly<Record<string, Server['status']>> = {
  running: 'running',
  initializing: 'starting',
  starting: 'starting',
  stopping: 'stopping',
  off: 'off',
  deleting: 'deleting',
  migrating: 'busy',
  rebuilding: 'busy',
}

function serverFromWire(wire: WireServer): Server {
  const { ipv4, ipv6, firewalls } = wire.public_net ?? {}
  const pending = (firewalls ?? []).filter(firewall => firewall.status === 'pending')
  return {
    id: String(wire.id),
    name: wire.name ?? '',
    status: STATES[wire.status ?? ''] ?? 'unknown',
    labels: labelsFromWire(wire.labels),
    type: wire.server_type?.name ?? '',
    ...(wire.primary_disk_size ? { diskGb: wire.primary_disk_size } : {}),
    location: wire.location?.name ?? '',
    ...(ipv4?.ip ? { ipv4: ipv4.ip } : {}),
    ...(ipv6?.ip ? { ipv6: firstAddress(ipv6.ip) } : {}),
    privateIps: (wire.private_net ?? []).flatMap(({ network, ip }) =>
      network && ip ? [{ networkId: String(network), ip }] : [],
    ),
    firewallIds: (firewalls ?? []).map(firewall => String(firewall.id)),
    ...(pending.length === 0 ? {} : { pendingFirewallIds: pending.map(firewall => String(firewall.id)) }),
    ...(wire.placement_group ? { placementGroupId: String(wire.placement_group.id) } : {}),
    ...(wire.image ? { imageId: String(wire.image.id) } : {}),
    createdAt: wire.created ?? '',
    locked: wire.locked ?? false,
    deleteProtected: wire.protection?.delete ?? false,
  }
}

/** `datacenter` is never sent: the API no longer has it. */
const createToWire = (input: CreateServer): Readonly<Record<string, unknown>> => ({
  name: input.name,
  server_type: input.type,
  location: input.location,
  image: idToWire(input.image),
  start_after_create: true,
  ...(input.sshKeyIds.length === 0 ? {} : { ssh_keys: input.sshKeyIds.map(idToWire) }),
  // Given here, because between a create and a later attach the server would be open.
  ...(input.firewallIds.length === 0 ? {} : { firewalls: input.firewallIds.map(id => ({ firewall: idToWire(id) })) }),
  ...(input.networkIds.length === 0 ? {} : { networks: input.networkIds.map(idToWire) }),
  ...(input.placementGroupId === undefined ? {} : { placement_group: idToWire(input.placementGroupId) }),
  ...(input.userData === undefined ? {} : { user_data: input.userData }),
  labels: input.labels,
  public_net: {
    enable_ipv4: input.ipv4 !== 'none',
    enable_ipv6: input.ipv6 !== 'none',
    ...(typeof input.ipv4 === 'string' ? {} : { ipv4: idToWire(input.ipv4.id) }),
    ...(typeof input.ipv6 === 'string' ? {} : { ipv6: idToWire(input.ipv6.id) }),
  },
})
