/** Every name that Landfall gives. Deterministic names are half of its memory (labels are the other half), so they live in one place. */

import { createHash } from 'node:crypto'

/** RFC 1123 label: what a server, a role, a firewall and a project may be called. */
export const LABEL_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** Estate names are shorter, so that names and marks made from them fit. */
export const ESTATE_NAME_LIMIT = 30

/** Cloudflare's limit for a record's comment on every plan, and what our mark needs beside the two names (ids have at most 16 digits). */
const COMMENT_LIMIT = 100
export const MARK_NAMES_LIMIT = COMMENT_LIMIT - 'landfall estate= server= id='.length - 16

/** Lower case, everything foreign becomes one hyphen; empty when nothing is left. */
export const slug = (text: string, limit = 63): string =>
  text
    .toLowerCase()
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, limit)
    .replace(/^-+|-+$/g, '')

/** `count` servers of one group: its own name, then `name-2` … `name-n`, so that a group grows and shrinks at its end and the first stays. */
export const serverNames = (group: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => (index === 0 ? group : `${group}-${index + 1}`))

export const dokployServerName = (role: string): string => `${role}-dokploy`
export const dokployFirewallName = (estate: string): string => `${estate}-dokploy`
/** Opened to the administrators once Dokploy has its owner. */
export const adminFirewallName = (estate: string): string => `${estate}-admin`
export const baseFirewallName = (estate: string): string => `${estate}-base`
export const serviceFirewallName = (estate: string): string => `${estate}-service`
/** Of a cluster's servers. */
export const clusterFirewallName = (estate: string): string => `${estate}-cluster`
/** Of the servers that pull requests have to themselves. */
export const previewFirewallName = (estate: string): string => `${estate}-previews`
/** In front of a cluster. */
export const balancerName = (estate: string): string => `${estate}-cluster`
export const networkName = (estate: string): string => estate

/** What a machine's host key is filed under; addresses are recycled, ids are not. */
export const hostKeyAlias = (estate: string, serverId: string): string => `${estate}-${serverId}`

/** Type and key material, without options and comment. */
export const bareKey = (publicKey: string): string => publicKey.trim().split(/\s+/).slice(0, 2).join(' ')

/**
 * An SSH key's name at the vendor: `<estate>-<whose>-<8 hex digits of its hash>`. The hash keeps two people's `id_ed25519` apart.
 */
export const sshKeyName = (estate: string, whose: string, publicKey: string): string => {
  const hash = createHash('sha256').update(bareKey(publicKey)).digest('hex').slice(0, 8)
  return [estate, slug(whose, 24), hash].filter(part => part !== '').join('-')
}

export interface RecordMark {
  readonly estate: string
  readonly server: string
  readonly serverId: string
}

/** The comment that makes a DNS record ours, at most 100 characters: `landfall estate=<name> server=<server> id=<server id>`. */
export const renderRecordMark = ({ estate, server, serverId }: RecordMark): string => {
  const mark = `landfall estate=${estate} server=${server} id=${serverId}`
  if (mark.length > COMMENT_LIMIT)
    throw new Error(`bug: the mark of server ${server} has ${mark.length} characters, ${COMMENT_LIMIT} fit`)
  return mark
}

const MARK = /^landfall estate=([a-z0-9-]+) server=([a-z0-9-]+) id=([A-Za-z0-9_-]+)$/

/** The mark in a record's comment, or undefined: then the record is somebody else's. */
export const parseRecordMark = (comment: string): RecordMark | undefined => {
  const match = MARK.exec(comment)
  return match?.[1] !== undefined && match[2] !== undefined && match[3] !== undefined
    ? { estate: match[1], server: match[2], serverId: match[3] }
    : undefined
}

/** Whether a record's comment says that this estate made it. */
export const isOurMark = (comment: string, estate: string): boolean => parseRecordMark(comment)?.estate === estate
