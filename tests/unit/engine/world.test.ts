import { describe, expect, test } from 'bun:test'
import { World } from '../../../lib/engine/world.ts'

interface Small {
  servers: readonly string[]
  machines: readonly string[]
}

/** A vendor whose answers can be held back. */
function vendor() {
  const state = { servers: ['prod'] as string[], machines: ['prod is up'], reads: 0, failing: false }
  let gate: Promise<void> = Promise.resolve()
  const world = new World<Small>({
    async servers() {
      state.reads += 1
      const seen = [...state.servers]
      await gate
      if (state.failing) throw new Error('gateway timeout')
      return seen
    },
    async machines(get) {
      const servers = await get('servers')
      return servers.map(name => `${name} is up`)
    },
  })
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    return resolve
  }
  return { state, world, hold }
}

describe('the world', () => {
  test('reads a slice once, whoever asks', async () => {
    const { state, world } = vendor()
    await Promise.all([world.look(['servers', 'machines', 'servers']), world.look(['machines'])])
    await world.look(['servers'])
    expect(state.reads).toBe(1)
    expect(world.get('machines')).toEqual(['prod is up'])
  })

  test('says which slice a step forgot to name', async () => {
    const { world } = vendor()
    expect(world.has('servers')).toBe(false)
    expect(() => world.get('servers')).toThrow('bug: slice "servers" was not read')
    expect(() => world.update('servers', all => all)).toThrow('bug')
  })

  test('shows what a change made, without a request, and marks it for verification', async () => {
    const { state, world } = vendor()
    await world.look(['servers'])
    world.update('servers', all => [...all, 'dev'])
    await world.look(['servers'])
    expect(world.get('servers')).toEqual(['prod', 'dev'])
    expect([...world.touched]).toEqual(['servers'])
    expect(state.reads).toBe(1)
  })

  test('counts as proven what was read after the last change, and nothing that rests on what a change only wrote', async () => {
    const { world } = vendor()
    await world.look(['servers', 'machines'])
    world.update('servers', all => [...all, 'dev'])
    world.touch('machines')
    world.changed()
    await world.look(['machines'])
    // The machines were asked for again, but of servers that nobody has seen.
    expect([...world.unproven].sort()).toEqual(['machines', 'servers'])
    world.touch('servers')
    world.touch('machines')
    await world.look(['servers'])
    await world.look(['machines'])
    expect([...world.unproven]).toEqual([])
    world.changed()
    expect([...world.unproven].sort()).toEqual(['machines', 'servers'])
  })

  test('gives a reader the value that a change made, not the one first read', async () => {
    const { world } = vendor()
    await world.look(['servers'])
    world.update('servers', all => [...all, 'dev'])
    await world.look(['machines'])
    expect(world.get('machines')).toEqual(['prod is up', 'dev is up'])
  })

  test('reads a touched slice again on the next look, and keeps the old value readable until then', async () => {
    const { state, world, hold } = vendor()
    await world.look(['servers'])
    state.servers.push('dev')
    world.touch('servers')
    const release = hold()
    const looking = world.look(['servers'])
    expect(world.get('servers')).toEqual(['prod'])
    release()
    await looking
    expect(world.get('servers')).toEqual(['prod', 'dev'])
    await world.look(['servers'])
    expect(state.reads).toBe(2)
    expect([...world.touched]).toEqual(['servers'])
  })

  test('does not lose what a change made while the slice was being read again', async () => {
    const { state, world, hold } = vendor()
    await world.look(['servers'])
    world.touch('servers')
    const release = hold()
    const looking = world.look(['servers'])
    state.servers.push('dev')
    world.update('servers', all => [...all, 'dev'])
    release()
    await looking
    expect(world.get('servers')).toEqual(['prod', 'dev'])
  })

  test('forgets, and reads anew; an answer from before the forgetting is not taken', async () => {
    const { state, world, hold } = vendor()
    const release = hold()
    const early = world.look(['servers'])
    await Bun.sleep(0)
    world.forget(['servers'])
    state.servers = ['other']
    release()
    await early
    expect(world.get('servers')).toEqual(['other'])
    world.touch('servers')
    world.forget(world.touched)
    expect([...world.touched]).toEqual([])
    expect(world.has('servers')).toBe(false)
  })

  test('does not remember a failure', async () => {
    const { state, world } = vendor()
    state.failing = true
    await expect(world.look(['machines'])).rejects.toThrow('gateway timeout')
    state.failing = false
    await world.look(['machines'])
    expect(world.get('machines')).toEqual(['prod is up'])

    world.touch('servers')
    state.failing = true
    await expect(world.look(['servers'])).rejects.toThrow('gateway timeout')
    expect(world.get('servers')).toEqual(['prod'])
    state.failing = false
    state.servers = ['dev']
    await world.look(['servers'])
    expect(world.get('servers')).toEqual(['dev'])
  })

  test('a reader that asks for itself is a bug, not a wait without end', async () => {
    const world = new World<{ a: number; b: number }>({ a: get => get('b'), b: get => get('a') })
    await expect(world.look(['a'])).rejects.toThrow('bug: slice "a" needs "b" needs "a"')
  })
})
