/**
 * Labels where there are only tags: `landfall/estate=solo` is the tag `landfall-estate:solo`. Tags hold letters, digits, colons,
 * dashes and underscores, at most 255 of them, and keep the case that they were first written in (DigitalOcean API reference, "Tags").
 */

import type { Labels } from '../ports/cloud.ts'

const KEY = /^landfall\/([a-z][a-z-]*)$/
const VALUE = /^[A-Za-z0-9_-]+$/
const TAG = /^landfall-([a-z][a-z-]*):([A-Za-z0-9_-]+)$/
const FIREWALL_PREFIX = 'firewall-'

/** @throws an ordinary Error for a label that no tag can hold: only Landfall's own are ever asked for */
export const tagsFromLabels = (labels: Labels, prefix = ''): string[] =>
  Object.entries(labels)
    .map(([key, value]) => {
      const name = KEY.exec(key)?.[1]
      if (name === undefined || !VALUE.test(value)) throw new Error(`bug: the label ${key}=${value} fits into no tag`)
      return `landfall-${prefix}${name}:${value}`
    })
    .sort()

/**
 * Changing a label is adding one tag and taking another, so a run that was cut short leaves both: read is the label as it was before, and
 * the next run makes the same change again. Of host keys that is the one which was not announced as the next; of trust, `bootstrap`.
 */
export const labelsFromTags = (tags: readonly string[], prefix = ''): Labels => {
  const values = new Map<string, string[]>()
  for (const tag of tags) {
    const [, name = '', value = ''] = TAG.exec(tag) ?? []
    if (!name.startsWith(prefix) || value === '' || (prefix === '' && !isLabel(name))) continue
    const key = name.slice(prefix.length)
    values.set(key, [...(values.get(key) ?? []), value].sort())
  }
  const next = values.get('hostkey-next') ?? []
  const before = (key: string, all: readonly string[]) => (key === 'hostkey' ? all.find(value => !next.includes(value)) : all[0])
  return Object.fromEntries([...values].map(([key, all]) => [`landfall/${key}`, before(key, all) ?? all[0] ?? '']))
}

/** Which tags to add and which to take, one after the other, so that each moment in between reads as one of the two ends. Pure. */
export function labelChanges(tags: readonly string[], labels: Labels): { readonly what: 'add' | 'take'; readonly tag: string }[] {
  const have = tags.filter(tag => isLabel(TAG.exec(tag)?.[1] ?? 'guard'))
  const want = tagsFromLabels(labels)
  const keys = [...new Set([...have, ...want].map(keyOfTag))].sort((a, b) => placeOf(a) - placeOf(b))
  return keys.flatMap(key => [
    ...want.filter(tag => keyOfTag(tag) === key && !have.includes(tag)).map(tag => ({ what: 'add', tag }) as const),
    ...have.filter(tag => keyOfTag(tag) === key && !want.includes(tag)).map(tag => ({ what: 'take', tag }) as const),
  ])
}

const keyOfTag = (tag: string): string => TAG.exec(tag)?.[1] ?? ''
/** What is announced goes after what it was announced for, and the word that all is well comes last. */
const LAST = ['hostkey', 'hostkey-next', 'trust']
const placeOf = (key: string): number => LAST.indexOf(key)

const isLabel = (name: string): boolean => name !== 'guard' && name !== 'why' && !name.startsWith(FIREWALL_PREFIX)

/** Tags on a firewall select servers; these are on none, so they only say whose the firewall is. */
export const firewallTags = (labels: Labels): string[] => tagsFromLabels(labels, FIREWALL_PREFIX)
export const firewallLabels = (tags: readonly string[]): Labels => labelsFromTags(tags, FIREWALL_PREFIX)

/** The tag that puts a server behind a firewall. It can be given in the create call, so no server is ever without. */
export const guardTag = (firewall: string): string => `landfall-guard:${firewall.replaceAll('.', '_')}`
export const isGuardTag = (tag: string): boolean => tag.startsWith('landfall-guard:')

/**
 * A rule's reason as a tag among its sources: rules have no description, and a source tag that no server carries lets nobody in.
 * Anything but letters, digits and dashes is written as ":" and two hexadecimal digits for each byte, a blank as "_".
 */
export const whyTag = (why: string): string => {
  let text = ''
  for (const character of why) {
    const next = /[A-Za-z0-9-]/.test(character)
      ? character
      : character === ' '
        ? '_'
        : [...Buffer.from(character)].map(byte => `:${byte.toString(16).padStart(2, '0')}`).join('')
    if (WHY.length + text.length + next.length > 255) break
    text += next
  }
  return `${WHY}${text}`
}

const WHY = 'landfall-why:'
export const isWhyTag = (tag: string): boolean => tag.startsWith(WHY)

/** The reason among a rule's source tags; empty when there is none. */
export function whyFromTags(tags: readonly string[]): string {
  const tag = tags.find(isWhyTag)
  if (tag === undefined) return ''
  const bytes: number[] = []
  const text = tag.slice(WHY.length)
  for (let at = 0; at < text.length; at++) {
    if (text[at] === ':') {
      bytes.push(Number.parseInt(text.slice(at + 1, at + 3), 16) || 0x3f)
      at += 2
    } else bytes.push(text[at] === '_' ? 0x20 : text.charCodeAt(at))
  }
  return Buffer.from(bytes).toString('utf8')
}
