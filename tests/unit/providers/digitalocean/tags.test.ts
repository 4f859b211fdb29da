import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { addressesFromText, textFromAddresses } from '../../../../lib/providers/digitalocean/locks.ts'
import {
  firewallLabels,
  firewallTags,
  guardTag,
  isGuardTag,
  labelChanges,
  labelsFromTags,
  tagsFromLabels,
  whyFromTags,
  whyTag,
} from '../../../../lib/providers/digitalocean/tags.ts'

const TAG = /^[A-Za-z0-9:_-]{1,255}$/

describe('labels as tags', () => {
  const labels = { 'landfall/estate': 'solo', 'landfall/hostkey': 'kAb_-9k', 'landfall/run': '20261120-180319-14d634c5' }

  test('come back as they were, whatever stands beside them', () => {
    const tags = tagsFromLabels(labels)
    expect(tags).toContain('landfall-estate:solo')
    expect(labelsFromTags([...tags, 'web', 'env:prod', guardTag('web'), whyTag('SSH'), ...firewallTags(labels)])).toEqual(labels)
  })

  test('of a firewall are another kind, so that no server is ever behind it by its labels', () => {
    const tags = firewallTags(labels)
    expect(firewallLabels([...tags, guardTag('web'), ...tagsFromLabels({ 'landfall/role': 'x' })])).toEqual(labels)
    expect(tags.filter(tag => tagsFromLabels(labels).includes(tag))).toEqual([])
    expect(tags.some(isGuardTag)).toBe(false)
  })

  test('are read as they were, or as they will be, at each moment of the change that pins a new host key', () => {
    const fixed = { 'landfall/estate': 'solo', 'landfall/run': 'r1' }
    const rotated = { ...fixed, 'landfall/hostkey': 'kOld', 'landfall/hostkey-next': 'kNew', 'landfall/trust': 'bootstrap' }
    const pinned = { ...fixed, 'landfall/hostkey': 'kNew', 'landfall/trust': 'pinned' }
    const tags = new Set([...tagsFromLabels(rotated), 'web', guardTag('web')])
    const moments = labelChanges([...tags], pinned).map(({ what, tag }) => {
      if (what === 'add') tags.add(tag)
      else tags.delete(tag)
      // The vendor gives them in no order.
      const [read, reversed] = [labelsFromTags([...tags]), labelsFromTags([...tags].reverse())]
      expect(reversed).toEqual(read)
      return read
    })
    const keys = moments.map(each => [each['landfall/hostkey'], each['landfall/hostkey-next'], each['landfall/trust']])
    expect(keys).toEqual([
      ['kOld', 'kNew', 'bootstrap'],
      ['kNew', 'kNew', 'bootstrap'],
      ['kNew', undefined, 'bootstrap'],
      ['kNew', undefined, 'bootstrap'],
      ['kNew', undefined, 'pinned'],
    ])
    expect(labelChanges([...tags], pinned)).toEqual([])
    expect([...tags]).toContain('web')
  })

  test('that were doubled by a run cut short are single again after the next change', () => {
    const doubled = ['landfall-hostkey:kA', 'landfall-hostkey:kB', 'landfall-trust:bootstrap', 'landfall-trust:pinned']
    expect(labelChanges(doubled, { 'landfall/hostkey': 'kB', 'landfall/trust': 'pinned' })).toEqual([
      { what: 'take', tag: 'landfall-hostkey:kA' },
      { what: 'take', tag: 'landfall-trust:bootstrap' },
    ])
  })

  test('that no tag can hold are a bug, not a changed label', () => {
    expect(() => tagsFromLabels({ 'landfall/dokploy': '0.30.2' })).toThrow('fits into no tag')
    expect(() => tagsFromLabels({ 'other/estate': 'x' })).toThrow('fits into no tag')
  })
})

test('any reason of a rule fits into a tag and comes back, up to the length that tags have', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), why => {
      const tag = whyTag(why)
      const back = whyFromTags(['web', tag])
      expect(tag === 'landfall-why:' || TAG.test(tag)).toBe(true)
      expect(why.startsWith(back)).toBe(true)
      if (Buffer.byteLength(why) <= 80) expect(back).toBe(why)
    }),
  )
  expect(whyTag('SSH, by key only')).toBe('landfall-why:SSH:2c_by_key_only')
  expect(whyTag('allow-me ann@desk')).toBe('landfall-why:allow-me_ann:40desk')
})

describe('a lock’s holder as addresses', () => {
  test('comes back from any order and spelling', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }), fc.boolean(), (text, short) => {
        fc.pre(!text.endsWith('\0'))
        const addresses = addressesFromText(text).reverse()
        // The vendor may write an address in its shortest form, with a prefix length, in capitals.
        const spelled = addresses.map(address =>
          short ? `${new URL(`http://[${address}]/`).hostname.slice(1, -1)}/128` : address.toUpperCase(),
        )
        expect(textFromAddresses(spelled)).toBe(text)
      }),
    )
  })

  test('is not read from what somebody else wrote', () => {
    expect(textFromAddresses([])).toBeUndefined()
    expect(textFromAddresses(['0.0.0.0/0', '::/0'])).toBeUndefined()
    expect(textFromAddresses(addressesFromText('a text that is longer than one address').slice(1))).toBeUndefined()
  })
})
