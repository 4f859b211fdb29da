/** Droplets. Their names are not unique, so what proves that a lost create was ours is the run's tag together with the name. */

import { LandfallError } from '../../errors.ts'
import type { Cloud, CreateServer, Server } from '../ports/cloud.ts'
import { type Client, objectIn } from './client.ts'
import { recordOf } from './failure.ts'
import { guardsOf } from './firewalls.ts'
import { type Shared, type WireDroplet, type WireFirewall, waitAction } from './shared.ts'
import { guardTag, labelChanges, labelsFromTags, tagsFromLabels } from './tags.ts'

type Droplets = Pick<
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

const RUNNING_WITHIN_MS = 15 * 60_000
const ADDRESSES_WITHIN_MS = 3 * 60_000
/** How long a guest gets before it is powered off. */
const SHUTDOWN_WITHIN_MS = 60_000
const GONE_WITHIN_MS = 5 * 60_000
const USER_DATA_LIMIT_BYTES = 64 * 1024

export function createDroplets(client: Client, shared: Shared): Droplets {
  const { clock, context } = { clock: client.context.clock, context: client.context }

  const read = async (id: string, signal?: AbortSignal): Promise<WireDroplet> => {
    const what = `read droplet ${id}`
    const request = { what, method: 'GET', path: `/droplets/${id}`, ...(signal ? { signal } : {}) } as const
    return (
      await client.call(
        request,
        dots => dots.droplet.getDroplet({ droplet_id: Number(id) }),
        data => objectIn<WireDroplet>(data, 'droplet', what),
      )
    ).value
  }

  const toServer = async (droplet: WireDroplet): Promise<Server> => serverFromWire(droplet, await shared.listFirewalls())

  /** Reads the droplet again and again, less and less often, until `enough` is content. */
  const readUntil = async (
    id: string,
    input: { readonly what: string; readonly withinMs: number; readonly signal?: AbortSignal },
    enough: (droplet: WireDroplet) => boolean | Promise<boolean>,
  ): Promise<WireDroplet> => {
    const signal = input.signal ? AbortSignal.any([context.signal, input.signal]) : context.signal
    const deadlineMs = clock.monotonicMs() + input.withinMs
    for (let pauseMs = 500; ; pauseMs = Math.min(5_000, pauseMs * 1.5)) {
      const droplet = await read(id, input.signal)
      if (await enough(droplet)) return droplet
      if (clock.monotonicMs() > deadlineMs)
        throw new LandfallError(
          'timeout',
          `Could not ${input.what}: droplet ${droplet.name} is "${droplet.status}" after ${Math.round(input.withinMs / 60_000)} min.`,
          { hint: `Look at ${droplet.name} at cloud.digitalocean.com, then run the same command again.` },
        )
      await clock.sleep(pauseMs, signal)
    }
  }

  /** Sends an action to the droplet and waits for its end. */
  const act = async (
    droplet: string,
    what: string,
    send: Parameters<typeof client.call>[1],
    signal?: AbortSignal,
  ): Promise<void> => {
    const request = { what, method: 'POST', path: `/droplets/${droplet}/actions`, ...(signal ? { signal } : {}) } as const
    const { value: id } = await client.call(request, send, data => objectIn<{ id: number }>(data, 'action', what).id)
    await waitAction(client, { what, id }, signal)
  }

  const powerOn = (id: string, signal?: AbortSignal): Promise<void> =>
    act(id, `power on droplet ${id}`, dots => dots.droplet.powerOnDroplet({ droplet_id: Number(id) }), signal)

  /** A guest that reacts to the shutdown is off soon; one that does not is powered off. */
  const powerOff = async (id: string, signal: AbortSignal): Promise<void> => {
    if ((await read(id, signal)).status === 'off') return
    try {
      await act(id, `shut down droplet ${id}`, dots => dots.droplet.shutdownDroplet({ droplet_id: Number(id) }), signal)
    } catch (error) {
      // DigitalOcean gives the guest a time of its own and calls the action failed when that is over.
      if (!(error instanceof LandfallError) || error.code !== 'vendor') throw error
    }
    const deadlineMs = clock.monotonicMs() + SHUTDOWN_WITHIN_MS
    while (clock.monotonicMs() < deadlineMs) {
      if ((await read(id, signal)).status === 'off') return
      await clock.sleep(2_000, signal)
    }
    await act(id, `power off droplet ${id}`, dots => dots.droplet.powerOffDroplet({ droplet_id: Number(id) }), signal)
  }

  const waitServerRunning: Droplets['waitServerRunning'] = async (id, signal) => {
    const what = `start droplet ${id}`
    let poweredOn = false
    const droplet = await readUntil(id, { what, withinMs: RUNNING_WITHIN_MS, signal }, async each => {
      if (each.status === 'off' && !each.locked && !poweredOn) {
        poweredOn = true
        await powerOn(id, signal)
      }
      return each.status === 'active'
    })
    return toServer(droplet)
  }

  const tag = async (verb: 'add' | 'take', name: string, id: string): Promise<void> => {
    const resources = [{ resource_id: id, resource_type: 'droplet' as const }]
    const method = verb === 'add' ? 'POST' : 'DELETE'
    await client.call(
      { what: `label droplet ${id}`, method, path: `/tags/${name}/resources` },
      dots =>
        verb === 'add'
          ? dots.tag.tagResources({ tag_name: name, resources })
          : dots.tag.untagResources({ tag_name: name, resources }),
      () => undefined,
    )
  }

  return {
    async listServers() {
      const [droplets, firewalls] = await Promise.all([shared.listDroplets(), shared.listFirewalls()])
      return droplets.map(droplet => serverFromWire(droplet, firewalls))
    },

    async createServer(input) {
      refuseUnknown(input)
      const labels = tagsFromLabels(input.labels)
      const firewalls = (await shared.listFirewalls()).filter(each => input.firewallIds.includes(each.id))
      const what = `create droplet ${input.name}`
      const tags = [...labels, ...firewalls.map(firewall => guardTag(firewall.name ?? ''))]
      // A droplet whose create has failed looks for ever as if it were just being made; only the action tells.
      let action: number | undefined
      const made = await shared.tagging(() =>
        client.create(
          { what, path: '/droplets' },
          dots => dots.droplet.createDroplet(createToWire(input, tags)),
          data => {
            action = createActionIn(data)
            return objectIn<WireDroplet>(data, 'droplet', what)
          },
          async () =>
            (await shared.listDroplets()).find(
              each => each.name === input.name && labels.every(label => (each.tags ?? []).includes(label)),
            ),
        ),
      )
      const hint = `Delete ${input.name} at cloud.digitalocean.com, then run the same command again.`
      if (action !== undefined) await waitAction(client, { what, id: action, hint })
      const droplet = await readUntil(
        String(made.id),
        { what: `learn the addresses of ${input.name}`, withinMs: ADDRESSES_WITHIN_MS },
        each => addressOf(each, 'v4', 'public') !== undefined,
      )
      return serverFromWire(droplet, firewalls)
    },

    async setServerLabels(id, labels) {
      const droplet = await read(id)
      const changes = labelChanges(droplet.tags ?? [], labels)
      const named = (what: 'add' | 'take') => changes.flatMap(each => (each.what === what ? [each.tag] : []))
      await shared.tagging(async () => {
        await shared.ensureTags(named('add'))
        for (const change of changes) await tag(change.what, change.tag, id)
      })
      await shared.dropTags(named('take'))
    },

    async attachNetwork(id, network) {
      throw new LandfallError(
        'refused',
        `Droplet ${id} cannot be put into network ${network}: DigitalOcean does that in a create only.`,
        {
          hint: 'Make it anew: bun scripts/provision.ts rebuild',
        },
      )
    },

    powerOn: id => powerOn(id),

    async setServerType(id, type, signal) {
      await powerOff(id, signal)
      try {
        await act(
          id,
          `change droplet ${id} to ${type}`,
          dots => dots.droplet.resizeDroplet({ droplet_id: Number(id), size: type, disk: false }),
          signal,
        )
      } catch (error) {
        // An earlier run's change may have ended meanwhile, or the answer to this one was lost.
        if ((await read(id, signal)).size_slug !== type) {
          // Whatever the vendor says about the size, a droplet that ran is not left off.
          await powerOn(id, signal)
          throw error
        }
      }
      return waitServerRunning(id, signal)
    },

    waitServerRunning,

    async deleteServer(id) {
      const droplet = (await shared.listDroplets()).find(each => String(each.id) === id)
      const what = `delete droplet ${droplet?.name ?? id}`
      await client.remove({ what, path: `/droplets/${id}` }, dots => dots.droplet.deleteDroplet({ droplet_id: Number(id) }))
      try {
        await readUntil(id, { what, withinMs: GONE_WITHIN_MS }, () => false)
      } catch (error) {
        if (!(error instanceof LandfallError) || error.code !== 'not_found') throw error
      }
      await shared.dropTags(droplet?.tags ?? [])
    },
  }
}

/** What the port offers and this vendor has not. */
function refuseUnknown(input: CreateServer): void {
  const cannot = (what: string, hint: string) =>
    new LandfallError('config', `DigitalOcean has no ${what}, which server ${input.name} wants.`, { hint })
  if (input.ipv4 === 'none') throw cannot('droplets without a public IPv4 address', 'Take ipv4: false out of config.json.')
  if (typeof input.ipv4 !== 'string' || typeof input.ipv6 !== 'string')
    throw cannot('primary IPs', 'Use a name in DNS, which follows the server.')
  if (input.placementGroupId !== undefined) throw cannot('placement groups', 'Take placement_group out of config.json.')
  if (input.networkIds.length > 1) throw cannot('droplets in two networks', 'Give it one network.')
  if (Buffer.byteLength(input.userData ?? '') > USER_DATA_LIMIT_BYTES)
    throw new LandfallError('config', `The user data of ${input.name} has more than 64 KiB.`)
}

/** Of a create's answer. */
const createActionIn = (data: unknown): number | undefined => {
  const actions = recordOf(recordOf(data)?.links)?.actions
  const id = Array.isArray(actions) ? recordOf(actions[0])?.id : undefined
  return typeof id === 'number' ? id : undefined
}

const createToWire = (input: CreateServer, tags: readonly string[]) => ({
  name: input.name,
  region: input.location,
  size: input.type,
  image: /^\d+$/.test(input.image) ? Number(input.image) : input.image,
  ssh_keys: input.sshKeyIds.map(Number),
  ipv6: input.ipv6 === 'new',
  monitoring: false,
  tags: [...tags],
  ...(input.networkIds[0] === undefined ? {} : { vpc_uuid: input.networkIds[0] }),
  ...(input.userData === undefined ? {} : { user_data: input.userData }),
})

const STATES: Readonly<Record<string, Server['status']>> = { new: 'starting', active: 'running', off: 'off' }

const addressOf = ({ networks }: WireDroplet, version: 'v4' | 'v6', type: 'public' | 'private'): string | undefined =>
  (networks?.[version] ?? []).find(each => each.type === type)?.ip_address ?? undefined

function serverFromWire(wire: WireDroplet, firewalls: readonly WireFirewall[]): Server {
  const [ipv4, ipv6, inner] = [addressOf(wire, 'v4', 'public'), addressOf(wire, 'v6', 'public'), addressOf(wire, 'v4', 'private')]
  return {
    id: String(wire.id),
    name: wire.name ?? '',
    status: STATES[wire.status ?? ''] ?? 'unknown',
    labels: labelsFromTags(wire.tags ?? []),
    type: wire.size_slug ?? '',
    ...(wire.disk ? { diskGb: wire.disk } : {}),
    location: wire.region?.slug ?? '',
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    privateIps: wire.vpc_uuid && inner ? [{ networkId: wire.vpc_uuid, ip: inner }] : [],
    firewallIds: guardsOf(wire, firewalls),
    ...(wire.image ? { imageId: String(wire.image.id) } : {}),
    createdAt: wire.created_at ?? '',
    locked: wire.locked ?? false,
    deleteProtected: false,
  }
}
