/** Servers: created behind their firewall with a host key that is known beforehand, then running. */

import { blocked, done, type Finding, refused, todo } from '../engine/step.ts'
import { chooseOffer } from '../estate/choose.ts'
import { renderUserData } from '../estate/cloud-init.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { encodeHostKey, isOurs, LABEL_KEYS, labelsFor } from '../estate/labels.ts'
import { type Cloud, CONSOLES, type PrimaryIp, type Server } from '../providers/ports/cloud.ts'
import { keptAddress } from './address.ts'
import type { Deps, EstateStep } from './deps.ts'
import { driftOf, isSettled, strayedFrom } from './drift.ts'
import { guardStepId } from './firewall.ts'
import { chooseImage } from './image.ts'
import { findKey } from './key.ts'
import type { EstateWorld } from './world.ts'

type ServerDeps = Pick<Deps, 'estate' | 'cloud' | 'machines' | 'runId' | 'dropsAddresses'>

/** The estate's own server of that name; undefined when there is none or it is a stranger's. */
export const findServer = (estate: string, name: string, servers: readonly Server[]): Server | undefined =>
  servers.find(each => each.name === name && isOurs(each.labels, estate))

/** The step of a rebuild that takes away what `server NAME` then makes anew. */
export const oldServerStepId = (name: string): string => `old server ${name} gone`

const euros = (amount: number): string => amount.toFixed(2)

/** The server exists, behind its firewalls. Its addresses are known; it may still be starting. */
export function serverStep(deps: ServerDeps, spec: ServerSpec): EstateStep {
  const { estate, cloud } = deps
  const golden = spec.image.kind === 'golden'
  return {
    id: `server ${spec.name}`,
    noun: 'server',
    title: `server ${spec.name} exists`,
    needs: [
      ...estate.keys.map(key => `key ${key.name}`),
      ...spec.firewalls.map(name => `firewall ${name}`),
      ...(spec.network && estate.network ? [`network ${estate.network.name}`] : []),
      ...(spec.placementGroup ? [`placement group ${spec.placementGroup}`] : []),
      ...(golden ? ['image'] : []),
    ],
    reads: [
      'servers',
      'serverTypes',
      'images',
      'keys',
      'firewalls',
      'pricing',
      'primaryIps',
      ...(spec.network ? (['networks'] as const) : []),
      ...(spec.placementGroup ? (['placementGroups'] as const) : []),
    ],
    typicalMs: 8_000,
    look(world) {
      const servers = world.get('servers')
      const have = servers.find(each => each.name === spec.name)
      if (have && !isOurs(have.labels, estate.name))
        return refused(
          `A server called ${spec.name} exists in this project and does not belong to this estate.`,
          `Rename it in ${CONSOLES[cloud.vendor]}, or choose another "project" in config.json. Landfall never adopts a stranger.`,
        )
      if (have) {
        // One that this run made was made in it, and its addresses may not be known yet.
        const isJudged = isSettled(have) && have.labels[LABEL_KEYS.run] !== deps.runId
        const networks = spec.network ? world.get('networks') : []
        const outside = isJudged && estate.cloud === 'hetzner' ? strayedFrom(estate, spec, have, networks) : undefined
        if (outside !== undefined) return joinNetwork(cloud, have, outside, networks)
        const placementGroups = spec.placementGroup ? world.get('placementGroups') : []
        const drift = driftOf(estate, spec, have, { networks, placementGroups, images: world.get('images') }).map(
          each => `; config.json wants ${each.wants}: ${each.command}`,
        )
        return done(`${have.type} in ${have.location}, ${have.ipv4 ?? have.ipv6 ?? 'no public address'}${drift.join('')}`)
      }

      if (estate.keys.length === 0)
        return refused(
          `Nobody could log in to ${spec.name}: no SSH public key is known, and the vendor would mail a root password.`,
          'Make one with ssh-keygen -t ed25519, or list one in config.json: "ssh": {"public_keys": ["ssh-ed25519 …"]}.',
        )
      const offer = chooseOffer(spec, world.get('serverTypes'))
      if ('problem' in offer)
        return refused(
          offer.problem,
          offer.alternatives.length === 0
            ? 'Nothing comparable can be had there now: try another location, or the same command later.'
            : `Can be had now (monthly, net): ${offer.alternatives
                .slice(0, 5)
                .map(each => `${each.type} in ${each.location} at ${euros(each.monthly.net)}`)
                .join(', ')}. Add one to the list in config.json.`,
        )
      const pricing = world.get('pricing')
      const keptIn = (ips: readonly PrimaryIp[], type: PrimaryIp['type']) =>
        spec[type] && !deps.dropsAddresses
          ? keptAddress(estate.name, ips, { name: spec.name, type, location: offer.location })
          : undefined
      const kept = (['ipv4', 'ipv6'] as const).flatMap(type => keptIn(world.get('primaryIps'), type)?.ip ?? [])
      const address =
        spec.ipv4 && keptIn(world.get('primaryIps'), 'ipv4') === undefined
          ? pricing.primaryIps.find(each => each.type === 'ipv4' && each.location === offer.location)
          : undefined
      const monthlyNet = offer.monthly.net + (address?.monthly.net ?? 0)
      const image = chooseImage(spec.image, offer.architecture, world.get('images'))
      if (image.state === 'missing') return refused(image.why, image.hint)
      if (image.state === 'creating')
        return blocked('the golden image', {
          kind: 'create',
          summary: `create server ${spec.name} (${offer.type}, ${offer.location})`,
          monthlyNet,
        })
      if (image.image.diskGb > offer.diskGb)
        return refused(
          `The image "${image.image.description}" needs a disk of ${image.image.diskGb} GB; ${offer.type} has ${offer.diskGb} GB.`,
          'Build the image on the smallest type that is ever used (hetzner.server_types.packer_build), or choose a larger type.',
        )
      return todo({
        kind: 'create',
        summary: `create server ${spec.name} (${offer.type}, ${offer.location})`,
        details: [
          `image ${image.image.name ?? image.image.description}, ${euros(offer.monthly.net)} ${pricing.currency} a month net` +
            (address ? ` + ${euros(address.monthly.net)} for its IPv4` : ''),
          ...(kept.length > 0 ? [`it gets ${kept.join(' and ')}, put aside for it`] : []),
          ...(offer.fallback ? [`${offer.fallback}`] : []),
        ],
        monthlyNet,
        async apply({ world: live }) {
          const hostKey = await deps.machines.generateKey()
          const network =
            spec.network && estate.network ? live.get('networks').find(each => each.name === estate.network?.name) : undefined
          const group = spec.placementGroup
            ? live.get('placementGroups').find(each => each.name === spec.placementGroup)
            : undefined
          const addressFor = (type: PrimaryIp['type']) => {
            const waiting = keptIn(live.get('primaryIps'), type)
            return waiting ? { id: waiting.id } : spec[type] ? ('new' as const) : ('none' as const)
          }
          const [ipv4, ipv6] = [addressFor('ipv4'), addressFor('ipv6')]
          const server = await cloud.createServer({
            name: spec.name,
            type: offer.type,
            location: offer.location,
            image: image.image.id,
            sshKeyIds: estate.keys.flatMap(key => findKey(key, live.get('keys'))?.id ?? []),
            firewallIds: live
              .get('firewalls')
              .filter(each => spec.firewalls.includes(each.name))
              .map(each => each.id),
            networkIds: network ? [network.id] : [],
            ...(group ? { placementGroupId: group.id } : {}),
            labels: {
              ...labelsFor(estate.name, spec.role, deps.runId),
              ...(spec.pullRequest === undefined ? {} : { [LABEL_KEYS.pullRequest]: String(spec.pullRequest) }),
              [LABEL_KEYS.hostKey]: encodeHostKey(hostKey.publicKey),
              [LABEL_KEYS.trust]: 'bootstrap',
              ...(spec.joins === undefined ? {} : { [LABEL_KEYS.joins]: spec.joins }),
              ...(spec.nixos ? { [LABEL_KEYS.os]: 'nixos' } : {}),
            },
            userData: renderUserData({
              hostname: spec.name,
              hostKeyPrivate: hostKey.privateKey.reveal(),
              hostKeyPublic: hostKey.publicKey,
              stock: !golden,
            }),
            ipv4,
            ipv6,
          })
          live.update('servers', all => [...all, server])
          const taken = [ipv4, ipv6].flatMap(each => (typeof each === 'object' ? each.id : []))
          if (taken.length > 0)
            live.update('primaryIps', all => all.map(ip => (taken.includes(ip.id) ? { ...ip, serverId: server.id } : ip)))
        },
      })
    },
  }
}

/** The existing server gets an address in the network `name`, as soon as there is one. */
function joinNetwork(
  cloud: Pick<Cloud, 'attachNetwork'>,
  have: Server,
  name: string,
  networks: EstateWorld['networks'],
): Finding<EstateWorld> {
  const change = { kind: 'change', summary: `put ${have.name} into network ${name}` } as const
  const network = networks.find(each => each.name === name)
  if (!network) return blocked(`network ${name}`, change)
  return todo({
    ...change,
    details: [`it gets an address in ${network.range}, where no cloud firewall stands`],
    async apply({ world: live }) {
      const server = await cloud.attachNetwork(have.id, network.id)
      live.update('servers', all => all.map(each => (each.id === server.id ? server : each)))
    },
  })
}

/** The server has finished starting. */
export function runningStep(deps: Pick<Deps, 'estate' | 'cloud'>, spec: ServerSpec): EstateStep {
  const { estate, cloud } = deps
  return {
    id: `server ${spec.name} running`,
    noun: 'server',
    title: `server ${spec.name} runs`,
    needs: [`server ${spec.name}`, guardStepId(spec.name)],
    reads: ['servers'],
    typicalMs: 10_000,
    look(world) {
      const have = findServer(estate.name, spec.name, world.get('servers'))
      if (!have) return blocked(`server ${spec.name}`, { kind: 'wait', summary: `wait until ${spec.name} runs` })
      const pending = have.pendingFirewallIds ?? []
      if (pending.length > 0 && isSettled(have))
        return todo({
          kind: 'change',
          // Before it is powered on: without it the server would be open.
          summary: `put the firewall of ${spec.name} into force, which the vendor has not done`,
          async apply({ world: live }) {
            for (const id of pending) await cloud.attachFirewall(id, [have.id])
            live.touch('servers')
          },
        })
      if (have.status === 'running') return done(have.ipv4 ?? have.ipv6 ?? 'running')
      if (have.status === 'deleting')
        return refused(`Server ${spec.name} is being deleted.`, 'Wait until it is gone, then run the same command again.')
      const setServer = (server: Server, all: readonly Server[]) => all.map(each => (each.id === server.id ? server : each))
      if (have.status === 'off')
        return todo({
          kind: 'change',
          summary: `power on ${spec.name}`,
          async apply({ world: live, signal }) {
            await cloud.powerOn(have.id)
            const server = await cloud.waitServerRunning(have.id, signal)
            live.update('servers', all => setServer(server, all))
          },
        })
      return todo({
        kind: 'wait',
        summary: `wait until ${spec.name} runs`,
        async apply({ world: live, signal }) {
          const server = await cloud.waitServerRunning(have.id, signal)
          live.update('servers', all => setServer(server, all))
        },
      })
    },
  }
}
