/** Which server type is bought where: the first wanted one that can be had now, or what could be had instead. */

import type { Money, ServerType } from '../providers/ports/cloud.ts'
import { nearest } from './near.ts'
import { listed, quoted } from './words.ts'

type OfferedType = Pick<ServerType, 'name' | 'cores' | 'memoryGb' | 'diskGb' | 'architecture' | 'offers'>

export interface Offer {
  readonly type: string
  readonly location: string
  readonly architecture: 'x86' | 'arm'
  readonly diskGb: number
  readonly hourly: Money
  readonly monthly: Money
  /** Why it is not the first choice; a sentence without a full stop. */
  readonly fallback?: string
  /** After this day (ISO date) the type cannot be ordered there any more. */
  readonly withdrawnAfter?: string
}

export interface NoOffer {
  /** A sentence. */
  readonly problem: string
  /** Same architecture, at least the cores and the memory; cheapest first, the wanted locations first among equals. */
  readonly alternatives: readonly { readonly type: string; readonly location: string; readonly monthly: Money }[]
}

interface Wanted {
  readonly types: readonly string[]
  readonly locations: readonly string[]
}

const MAX_ALTERNATIVES = 8

const whyNot = (type: OfferedType, location: string): string => {
  const offer = type.offers.find(each => each.location === location)
  if (offer?.stock === 'sold_out') return `${type.name} is sold out in ${location} now`
  if (offer?.stock === 'withdrawn')
    return `${type.name} was withdrawn in ${location}${offer.withdrawnAfter === undefined ? '' : ` after ${offer.withdrawnAfter}`}`
  const places = [...new Set(type.offers.filter(each => each.stock === 'available').map(each => each.location))].sort()
  return `${type.name} is not sold in ${location}${places.length > 0 ? ` (it is in ${listed(places)})` : ''}`
}

const unknownType = (name: string, types: readonly OfferedType[]): string => {
  const near = nearest(
    name,
    types.map(type => type.name),
  )
  return `there is no server type ${quoted(name)}${near === undefined ? '' : ` (did you mean ${quoted(near)}?)`}`
}

const reasons = (wanted: Wanted, types: readonly OfferedType[]): readonly string[] =>
  wanted.types.flatMap(name => {
    const type = types.find(each => each.name === name)
    return type === undefined ? [unknownType(name, types)] : wanted.locations.map(location => whyNot(type, location))
  })

const alternativesTo = (wanted: Wanted, types: readonly OfferedType[]): NoOffer['alternatives'] => {
  const names = types.map(type => type.name)
  const like = wanted.types
    .map(name => types.find(type => type.name === name) ?? types.find(type => type.name === nearest(name, names)))
    .find(type => type !== undefined)
  if (like === undefined) return []
  return types
    .filter(type => type.architecture === like.architecture && type.cores >= like.cores && type.memoryGb >= like.memoryGb)
    .flatMap(type =>
      type.offers
        .filter(offer => offer.stock === 'available')
        .map(({ location, monthly }) => ({
          type: type.name,
          location,
          monthly,
          away: wanted.locations.includes(location) ? 0 : 1,
        })),
    )
    .sort(
      (a, b) =>
        a.monthly.net - b.monthly.net || a.away - b.away || (`${a.type} ${a.location}` < `${b.type} ${b.location}` ? -1 : 1),
    )
    .slice(0, MAX_ALTERNATIVES)
    .map(({ type, location, monthly }) => ({ type, location, monthly }))
}

/**
 * The first type in order of preference that can be had in one of the locations, each in order of preference; the type weighs
 * more than the place. Prices are the vendor's, for today's orders.
 */
export const chooseOffer = (wanted: Wanted, serverTypes: readonly OfferedType[]): Offer | NoOffer => {
  for (const name of wanted.types) {
    const type = serverTypes.find(each => each.name === name)
    if (type === undefined) continue
    for (const location of wanted.locations) {
      const offer = type.offers.find(each => each.location === location && each.stock === 'available')
      if (offer === undefined) continue
      const isFirst = name === wanted.types[0] && location === wanted.locations[0]
      const [firstReason = ''] = reasons(wanted, serverTypes)
      return {
        type: name,
        location,
        architecture: type.architecture,
        diskGb: type.diskGb,
        hourly: offer.hourly,
        monthly: offer.monthly,
        ...(isFirst ? {} : { fallback: `${firstReason}: ${name} in ${location} instead` }),
        ...(offer.withdrawnAfter === undefined ? {} : { withdrawnAfter: offer.withdrawnAfter }),
      }
    }
  }
  const sentence = listed(reasons(wanted, serverTypes))
  return {
    // A type's name keeps its small letters.
    problem: `${sentence.replace(/^there /, 'There ')}.`,
    alternatives: alternativesTo(wanted, serverTypes),
  }
}
