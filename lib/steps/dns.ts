/** DNS records of the estate. A record without our mark is somebody's; it is replaced only when its name was given for that. */

import { isAddressRecord } from '../cutover/move.ts'
import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { DnsSpec } from '../estate/estate.ts'
import { isOurMark, renderRecordMark } from '../estate/naming.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DnsRecord, WantedRecord } from '../providers/ports/dns.ts'
import { balancerStepId, findBalancer } from './balancer.ts'
import type { Deps, EstateStep } from './deps.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

type DnsDeps = Pick<Deps, 'estate' | 'dns' | 'takeOver'>
type RecordSpec = DnsSpec['records'][number]

/** What `spec` wants to exist for `server`. Pure. */
export function desiredRecords(
  estate: string,
  spec: RecordSpec,
  server: Pick<Server, 'id' | 'name' | 'ipv4' | 'ipv6'>,
): WantedRecord[] {
  const base = {
    name: spec.name,
    ttl: spec.proxied ? 1 : spec.ttl,
    proxied: spec.proxied,
    comment: renderRecordMark({ estate, server: server.name, serverId: server.id }),
  }
  return [
    ...(server.ipv4 ? [{ ...base, type: 'A', content: server.ipv4 } as const] : []),
    ...(server.ipv6 ? [{ ...base, type: 'AAAA', content: server.ipv6 } as const] : []),
  ]
}

// Proxied records always report "automatic", so their ttl says nothing.
const sameRecord = (have: DnsRecord, want: WantedRecord): boolean =>
  have.type === want.type &&
  have.content === want.content &&
  have.proxied === want.proxied &&
  have.comment === want.comment &&
  (want.proxied || have.ttl === want.ttl)

const describe = (record: Pick<DnsRecord, 'type' | 'content' | 'proxied' | 'ttl'>): string =>
  `${record.type} ${record.content}${record.proxied ? ', proxied' : `, TTL ${record.ttl} s`}`

export const dnsStepId = (name: string): string => `dns ${name}`

export const unseenZone = (name: string) =>
  refused(
    `The Cloudflare token sees no zone for ${name}.`,
    'Add the domain at Cloudflare, or make the token with Zone → Zone → Read and Zone → DNS → Edit on exactly this zone.',
  )

/** The zone is there, ours to edit, and the world asks the vendor for it. */
export function zoneStep(deps: Pick<Deps, 'estate'>): EstateStep {
  const zoneName = deps.estate.dns?.zone ?? ''
  return {
    id: 'zone',
    noun: 'dns',
    title: `zone ${zoneName} is active at Cloudflare`,
    needs: [],
    reads: ['zone'],
    look(world) {
      const zone = world.get('zone')
      if (!zone) return unseenZone(zoneName)
      if (zone.status === 'active') return done(zone.nameservers.join(', '))
      const why =
        zone.status === 'pending' ? 'the registrar does not point to Cloudflare yet' : `Cloudflare reports it as ${zone.status}`
      return refused(
        `Zone ${zone.name} is not authoritative: ${why}.`,
        `Set the nameservers ${zone.nameservers.join(' and ')} at the registrar, wait until Cloudflare says "active", then run this again.`,
      )
    },
  }
}

/** The name points at its server, by records of ours and nothing else. */
export function recordStep(deps: DnsDeps, spec: RecordSpec): EstateStep {
  const { estate } = deps
  const title = `${spec.name} points at ${spec.server}`
  return {
    id: dnsStepId(spec.name),
    noun: 'dns',
    title,
    needs: ['zone', spec.kind === 'balancer' ? balancerStepId(estate.name) : `server ${spec.server} running`],
    reads: ['zone', 'records', 'servers', ...(spec.kind === 'balancer' ? (['loadBalancers'] as const) : [])],
    look(world) {
      const zone = world.get('zone')
      if (!zone) return blocked('the zone', { kind: 'create', summary: `create records for ${spec.name}` })
      const have = world.get('records').filter(each => each.name === spec.name && isAddressRecord(each))
      const foreign = have.filter(each => !isOurMark(each.comment, estate.name))
      if (foreign.length > 0 && !deps.takeOver.includes(spec.name))
        return refused(
          `${spec.name} already has ${foreign.map(describe).join(' and ')}, which Landfall did not make.`,
          `If it may be replaced, add --take-over ${spec.name} to the command. Otherwise choose another name in config.json.`,
        )
      const server =
        spec.kind === 'balancer'
          ? findBalancer(estate.name, world.get('loadBalancers'))
          : findServer(estate.name, spec.server, world.get('servers'))
      if (!server) {
        const kind = foreign.length > 0 ? 'destroy' : have.length > 0 ? 'change' : 'create'
        return blocked(`server ${spec.server}`, { kind, summary: `point ${spec.name} at ${spec.server}` })
      }
      const want = desiredRecords(estate.name, spec, server)
      const posts = want.filter(each => !have.some(record => record.type === each.type))
      const patches = want.flatMap(each => {
        const record = have.find(other => other.type === each.type)
        return record && !sameRecord(record, each) ? [{ id: record.id, record: each, before: record }] : []
      })
      const kept = want.flatMap(each => have.find(record => record.type === each.type)?.id ?? [])
      const deletes = have.filter(record => !kept.includes(record.id))
      if (posts.length + patches.length + deletes.length === 0) return done(want.map(each => each.content).join(', '))

      const change: Change<EstateWorld> = {
        kind: foreign.length > 0 ? 'destroy' : have.length > 0 ? 'change' : 'create',
        summary:
          have.length > 0
            ? `point ${spec.name} at ${spec.server} instead of ${have.map(each => each.content).join(', ')}`
            : `point ${spec.name} at ${spec.server}`,
        details: [
          ...posts.map(each => `+ ${describe(each)}`),
          ...patches.map(each => `~ ${describe(each.before)} → ${describe(each.record)}`),
          ...deletes.map(each => `- ${describe(each)}`),
        ],
        async apply({ world: live }) {
          await deps.dns.changeRecords(zone.id, { deletes, patches: patches.map(({ id, record }) => ({ id, record })), posts })
          const gone = new Set([...deletes, ...patches].map(each => each.id))
          live.update('records', all => [
            ...all.filter(each => !gone.has(each.id)),
            ...want.filter(each => posts.includes(each) || patches.some(patch => patch.record === each)).map(asRecord),
          ])
        },
      }
      return todo(change)
    },
  }
}

/** What a wanted record will be read back as; its id is known only after the next look. */
const asRecord = (record: WantedRecord): DnsRecord => ({ ...record, id: `new:${record.name}:${record.type}`, raw: {} })
