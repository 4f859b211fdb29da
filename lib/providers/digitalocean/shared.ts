/** Reads that several nouns of this adapter need, and the upkeep of tags, which belong to no object and outlive all of them. */

import { LandfallError } from '../../errors.ts'
import { type Client, objectIn } from './client.ts'
import { recordOf } from './failure.ts'

export interface WireDroplet {
  readonly id: number
  readonly name?: string | null
  readonly status?: string | null
  readonly locked?: boolean | null
  readonly created_at?: string | null
  readonly size_slug?: string | null
  readonly disk?: number | null
  readonly region?: { readonly slug?: string | null } | null
  readonly image?: { readonly id: number } | null
  readonly vpc_uuid?: string | null
  readonly tags?: readonly string[] | null
  readonly networks?: { readonly v4?: readonly WireAddress[] | null; readonly v6?: readonly WireAddress[] | null } | null
}

export interface WireAddress {
  readonly ip_address?: string | null
  readonly type?: string | null
}

export interface WireRule {
  readonly protocol?: string | null
  readonly ports?: string | null
  readonly sources?: {
    readonly addresses?: readonly string[] | null
    readonly tags?: readonly string[] | null
    readonly droplet_ids?: readonly number[] | null
    readonly load_balancer_uids?: readonly string[] | null
    readonly kubernetes_ids?: readonly string[] | null
  } | null
}

export interface WireFirewall {
  readonly id: string
  readonly name?: string | null
  readonly status?: string | null
  readonly created_at?: string | null
  readonly droplet_ids?: readonly number[] | null
  readonly tags?: readonly string[] | null
  readonly inbound_rules?: readonly WireRule[] | null
  readonly pending_changes?: readonly unknown[] | null
}

export interface Shared {
  listDroplets(): Promise<readonly WireDroplet[]>
  listFirewalls(guarded?: boolean): Promise<readonly WireFirewall[]>
  /** Does what puts tags on something, while none is deleted: the vendor would take a deleted one off what has just got it. */
  tagging<T>(work: () => Promise<T>): Promise<T>
  /** Makes those that do not exist; within `tagging`, which sees that they stay. */
  ensureTags(names: readonly string[]): Promise<void>
  /** Those of Landfall's that nothing carries. */
  idleTags(): Promise<readonly string[]>
  /** Deletes those of Landfall's tags among `names` that nothing carries any more; never within `tagging`, for whose end it waits. */
  dropTags(names: readonly string[]): Promise<void>
}

export function createShared(client: Client): Shared {
  /** One request for all that ask while it is under way. */
  const once = <T>(read: () => Promise<T>) => {
    let running: Promise<T> | undefined
    return () => {
      running ??= read().finally(() => {
        running = undefined
      })
      return running
    }
  }
  const listFirewalls = async (guarded?: boolean) => {
    const request = { what: 'list firewalls', path: '/firewalls', ...(guarded === undefined ? {} : { guarded }) }
    return (await client.list<WireFirewall>(request, 'firewalls', (dots, page) => dots.firewall.listFirewalls(page))).value
  }
  const firewallsNow = once(() => listFirewalls())
  const listTags = async () => {
    const { value } = await client.list<WireTag>({ what: 'list tags', path: '/tags' }, 'tags', (dots, page) =>
      dots.tag.listTags(page),
    )
    return new Map(value.map(tag => [tag.name, tag.resources?.count ?? 0]))
  }
  const tagsNow = once(listTags)

  const ensureTag = async (name: string): Promise<void> => {
    try {
      await client.call(
        { what: `create tag ${name}`, method: 'POST', path: '/tags' },
        dots => dots.tag.createTag({ name }),
        () => undefined,
      )
    } catch (error) {
      // Another step of this run may have made it meanwhile.
      if (!(error instanceof LandfallError) || (error.status !== 409 && error.status !== 422)) throw error
      const request = { what: `read tag ${name}`, method: 'GET', path: `/tags/${name}` } as const
      await client.call(
        request,
        dots => dots.tag.getTag({ tag_name: name }),
        data => objectName(data),
      )
    }
  }

  // Read anew: an answer that was under way may be older than the last tag that was taken.
  const idleTags = async (): Promise<string[]> => {
    const [counts, firewalls] = await Promise.all([listTags(), listFirewalls()])
    const inUse = new Set(firewalls.flatMap(tagsOf))
    return [...counts].flatMap(([name, count]) => (isOurTag(name) && count === 0 && !inUse.has(name) ? [name] : []))
  }

  const taggings = new Set<Promise<unknown>>()
  let dropping: Promise<unknown> | undefined
  const tagging = async <T>(work: () => Promise<T>): Promise<T> => {
    while (dropping) await dropping
    const running = work()
    const ended = Promise.allSettled([running])
    taggings.add(ended)
    try {
      return await running
    } finally {
      taggings.delete(ended)
    }
  }

  const dropIdle = async (ours: ReadonlySet<string>): Promise<void> => {
    for (const name of await idleTags())
      if (ours.has(name))
        await client.remove({ what: `delete tag ${name}`, path: `/tags/${name}` }, dots => dots.tag.deleteTag({ tag_name: name }))
  }

  return {
    tagging,
    listDroplets: once(
      async () =>
        (
          await client.list<WireDroplet>({ what: 'list droplets', path: '/droplets' }, 'droplets', (dots, page) =>
            dots.droplet.listDroplets(page),
          )
        ).value,
    ),
    listFirewalls: guarded => (guarded === undefined ? firewallsNow() : listFirewalls(guarded)),
    async ensureTags(names) {
      if (names.length === 0) return
      const have = await tagsNow()
      for (const name of new Set(names)) if (!have.has(name)) await ensureTag(name)
    },
    idleTags,
    async dropTags(names) {
      const ours = new Set(names.filter(isOurTag))
      if (ours.size === 0) return
      const before = dropping
      const running = (async () => {
        await before
        await Promise.all(taggings)
        await dropIdle(ours)
      })()
      const ended = Promise.allSettled([running])
      dropping = ended
      try {
        await running
      } finally {
        if (dropping === ended) dropping = undefined
      }
    },
  }
}

const isOurTag = (name: string): boolean => name.startsWith('landfall-')

/** On a firewall, and in its rules. */
export const tagsOf = ({ tags, inbound_rules }: WireFirewall): string[] => [
  ...(tags ?? []),
  ...(inbound_rules ?? []).flatMap(rule => rule.sources?.tags ?? []),
]

interface WireTag {
  readonly name: string
  readonly resources?: { readonly count?: number } | null
}

const objectName = (data: unknown): unknown => recordOf(recordOf(data)?.tag)?.name

/** Follows one action to its end. @throws LandfallError vendor (it failed) | timeout */
export async function waitAction(
  client: Client,
  { what, id, hint = LOOK_AT_HISTORY }: { readonly what: string; readonly id: number; readonly hint?: string },
  signal?: AbortSignal,
): Promise<void> {
  const { clock } = client.context
  const deadlineMs = clock.monotonicMs() + ACTION_TIMEOUT_MS
  for (let pauseMs = 250; ; pauseMs = Math.min(5_000, pauseMs * 1.5)) {
    const request = { what, method: 'GET', path: `/actions/${id}`, ...(signal ? { signal } : {}) } as const
    const { value } = await client.call(
      request,
      dots => dots.action.getAction({ action_id: id }),
      body => objectIn<{ id: number; status?: string; type?: string }>(body, 'action', what),
    )
    if (value.status === 'completed') return
    if (value.status === 'errored')
      throw new LandfallError('vendor', `Could not ${what}: DigitalOcean's action ${value.type ?? ''} (${id}) failed.`, { hint })
    if (clock.monotonicMs() > deadlineMs)
      throw new LandfallError('timeout', `Could not ${what}: DigitalOcean's action ${id} is still running after 15 min.`, {
        hint: 'Run the same command again: it looks first.',
      })
    await clock.sleep(pauseMs, signal ?? client.context.signal)
  }
}

const ACTION_TIMEOUT_MS = 15 * 60_000
const LOOK_AT_HISTORY = 'Look at the droplet’s history at cloud.digitalocean.com, then run the same command again.'
