/** Names in the sandbox: the zones of the Cloudflare stand-in as real DNS servers, and other people's names around them. */

import type { CloudflareControl } from './cloudflare/standin.ts'
import { answerAuthoritatively, createResolver, type DnsServer, serveDns } from './dns.ts'
import { askWorld, type DelegatedZone } from './dns-world.ts'
import type { DnsRecordRow } from './dns-zone.ts'
import type { SandboxClock, Store } from './kit.ts'

export interface DnsControl {
  /** Empties the resolver's cache, of one name or altogether. */
  flush(name?: string): void
  /** Moves the resolver's clock on, so that what it remembers grows old. */
  advanceMs(ms: number): void
  /** How far it was moved on in all. */
  aheadMs(): number
  /** Records of other people's names, whole: a former host's, for example. Replaces what was set before. */
  setOutside(records: readonly DnsRecordRow[]): void
}

export interface Names {
  /** The IPv4 address that everybody's resolver finds for a name, past every cache. */
  resolve(name: string): string | undefined
  /** The same behind Cloudflare's proxy, which passes everybody on to it: the certificate authority too. */
  originOf(name: string): string | undefined
  /** The same for any question, as texts; `broken` when nobody can say. */
  ask(name: string, type: 'TXT' | 'CAA'): readonly string[] | 'broken'
  readonly authority: DnsServer
  readonly resolver: DnsServer
  readonly control: DnsControl
  close(): Promise<void>
}

export interface NamesDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly cloudflare: Pick<CloudflareControl, 'zones' | 'records'>
  readonly ports: { readonly authority?: number; readonly resolver?: number }
}

export async function startNames({ store, clock, cloudflare, ports }: NamesDeps): Promise<Names> {
  const outside = store.collection<DnsRecordRow>('sandbox.outside')
  const zones = (): DelegatedZone[] =>
    cloudflare.zones().map(zone => ({
      name: zone.name,
      nameservers: zone.nameservers,
      originalNameservers: zone.originalNameservers,
      serial: zone.serial,
      delegation: zone.status === 'active' || zone.status === 'paused' ? 'here' : 'elsewhere',
      // A paused zone is DNS only, whatever its records say.
      records: cloudflare.records(zone.name).map(record => (zone.status === 'paused' ? { ...record, proxied: false } : record)),
    }))
  // In the store, so that a world that was moved on stays so after a restart.
  const time = store.collection<{ readonly aheadMs: number }>('sandbox.time')
  const aheadMs = () => time.get('dns')?.aheadMs ?? 0
  const cache = createResolver({ nowMs: () => clock.nowMs() + aheadMs() }, question => askWorld(zones(), outside.all(), question))
  const authority = await serveDns(question => answerAuthoritatively(zones(), question), {
    recursive: false,
    port: ports.authority ?? 0,
  })
  const resolver = await serveDns(cache.answer, { recursive: true, port: ports.resolver ?? 0 })
  const addressIn = (known: readonly DelegatedZone[], name: string): string | undefined => {
    const found = askWorld(known, outside.all(), { name, type: 'A' }).answers.find(answer => answer.type === 'A')
    return found?.type === 'A' ? found.data : undefined
  }
  const unproxied = (zone: DelegatedZone) => ({ ...zone, records: zone.records.map(record => ({ ...record, proxied: false })) })
  return {
    authority,
    resolver,
    resolve: name => addressIn(zones(), name),
    originOf: name => addressIn(zones().map(unproxied), name),
    ask(name, type) {
      const { status, answers } = askWorld(zones(), outside.all(), { name, type })
      if (status === 'servfail' || status === 'refused') return 'broken'
      return answers.flatMap(answer => {
        if (answer.type === 'TXT') return [[answer.data].flat().map(String).join('')]
        if (answer.type === 'CAA') return [`${answer.data.flags ?? 0} ${answer.data.tag} "${answer.data.value}"`]
        return []
      })
    },
    control: {
      flush: cache.flush,
      aheadMs,
      advanceMs(ms) {
        time.put('dns', { aheadMs: aheadMs() + ms })
      },
      setOutside(records) {
        store.transaction(() => {
          for (let i = 0; outside.delete(String(i)); i++);
          records.forEach((record, i) => {
            outside.put(String(i), record)
          })
        })
      },
    },
    async close() {
      await authority.close()
      await resolver.close()
    },
  }
}
