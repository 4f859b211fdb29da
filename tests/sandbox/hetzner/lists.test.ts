import { describe, expect, test } from 'bun:test'
import { openWorld, publicKey } from './world.ts'

const withKeys = (count: number) => {
  const world = openWorld()
  for (let n = 0; n < count; n++)
    world.send('POST', '/ssh_keys', { name: `key-${n}`, public_key: publicKey(n), labels: n % 2 ? { odd: 'yes' } : {} })
  return world
}

describe('pages', () => {
  test('hold 25, at most 50, and tell the neighbours', () => {
    const world = withKeys(60)
    const first = world.send('GET', '/ssh_keys')
    expect(first.body.at('ssh_keys').list()).toHaveLength(25)
    expect(first.body.at('meta', 'pagination').value).toEqual({
      page: 1,
      per_page: 25,
      previous_page: null,
      next_page: 2,
      last_page: 3,
      total_entries: 60,
    })
    const big = world.send('GET', '/ssh_keys?per_page=100&page=2')
    expect(big.body.at('ssh_keys').list()).toHaveLength(10)
    expect(big.body.at('meta', 'pagination').value).toMatchObject({ per_page: 50, previous_page: 1, next_page: null })
    expect(first.headers.Link).toContain('</v1/ssh_keys?page=2>; rel="next"')
  })

  test('may leave out the totals, and then only next_page tells the end', () => {
    const world = withKeys(30)
    world.control.setHideTotals(true)
    const first = world.send('GET', '/ssh_keys').body.at('meta', 'pagination')
    expect(first.value).toMatchObject({ next_page: 2, last_page: null, total_entries: null })
    expect(world.send('GET', '/ssh_keys?page=2').body.at('meta', 'pagination', 'next_page').value).toBeNull()
  })

  test('a page beyond the end is empty', () => {
    expect(withKeys(1).send('GET', '/ssh_keys?page=9').body.at('ssh_keys').list()).toHaveLength(0)
  })

  for (const query of ['page=0', 'page=x', 'per_page=0', 'sort=colour', 'sort=id:up', 'label_selector=a%20b'])
    test(`${query} is refused`, () =>
      expect(withKeys(1).send('GET', `/ssh_keys?${query}`)).toMatchObject({ status: 422, code: 'invalid_input' }))
})

describe('filters', () => {
  test('name, label selector and fingerprint select', () => {
    const world = withKeys(5)
    const names = (query: string) =>
      world
        .send('GET', `/ssh_keys?${query}`)
        .body.at('ssh_keys')
        .list()
        .map(key => key.at('name').value)
    expect(names('name=key-3')).toEqual(['key-3'])
    expect(names('label_selector=odd%3Dyes')).toEqual(['key-1', 'key-3'])
    expect(names('sort=name:desc')[0]).toBe('key-4')
    const fingerprint = world.send('GET', '/ssh_keys?name=key-2').body.at('ssh_keys', 0, 'fingerprint').value
    expect(names(`fingerprint=${fingerprint}`)).toEqual(['key-2'])
  })

  test('a repeatable parameter repeats its key; a word it does not know is refused', () => {
    const world = openWorld()
    const types = world.send('GET', '/images?type=system&type=app&per_page=50').body.at('images').list()
    expect(new Set(types.map(image => image.at('type').value))).toEqual(new Set(['system', 'app']))
    expect(world.send('GET', '/images?type=foo')).toMatchObject({ status: 422, code: 'invalid_input' })
  })

  test('new objects come into lists late when a lag is set, but answer by id at once', () => {
    const world = openWorld()
    world.control.setListLagMs(3000)
    const id = world
      .send('POST', '/ssh_keys', { name: 'k', public_key: publicKey(1) })
      .body.at('ssh_key', 'id')
      .number()
    expect(world.send('GET', '/ssh_keys?name=k').body.at('ssh_keys').list()).toHaveLength(0)
    expect(world.send('GET', `/ssh_keys/${id}`).status).toBe(200)
    world.pass(3000)
    expect(world.send('GET', '/ssh_keys?name=k').body.at('ssh_keys').list()).toHaveLength(1)
  })
})
