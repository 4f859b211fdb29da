import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasCode, LandfallError } from '../../../lib/errors.ts'
import { openStore } from '../../../lib/sandbox/store.ts'

const STORE = join(import.meta.dir, '../../../lib/sandbox/store.ts')

let directory = ''
let file = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'landfall-store-'))
  file = join(directory, 'sandbox.sqlite')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const failureOf = (work: () => unknown): unknown => {
  try {
    work()
  } catch (error) {
    return error
  }
  return undefined
}

/** Another process that opens the file, runs `body` with `store`, says "ready" and waits. */
const otherProcess = async (body: string) => {
  const script = join(directory, 'other.ts')
  writeFileSync(
    script,
    `import { openStore } from ${JSON.stringify(STORE)}\nconst store = openStore(${JSON.stringify(file)})\n${body}\nprocess.stdout.write('ready')\nsetInterval(() => undefined, 1000)\n`,
  )
  const child = Bun.spawn([process.execPath, script], { stdout: 'pipe', stderr: 'inherit' })
  const { value } = await child.stdout.getReader().read()
  expect(new TextDecoder().decode(value)).toBe('ready')
  return child
}

describe('a store', () => {
  test('gives back what was put, in the order of first putting, after it was closed and opened again', () => {
    const before = openStore(file)
    const things = before.collection<{ n: number }>('test.things')
    for (const n of [3, 1, 2]) things.put(String(n), { n })
    things.put('3', { n: 33 })
    things.delete('1')
    expect(things.size).toBe(2)
    before.close()

    const after = openStore(file)
    expect(after.collection<{ n: number }>('test.things').all()).toEqual([{ n: 33 }, { n: 2 }])
    expect(after.collection('test.others').size).toBe(0)
    after.close()
  })

  test('goes on counting where a sequence was left', () => {
    const before = openStore(file)
    expect([before.nextId('a', 100), before.nextId('a', 100), before.nextId('b')]).toEqual([100, 101, 1])
    before.close()
    const after = openStore(file)
    expect(after.nextId('a', 100)).toBe(102)
    after.close()
  })

  test('undoes a transaction that throws, places in the order included', () => {
    for (const path of [':memory:', file]) {
      const store = openStore(path)
      const things = store.collection<string>('test.things')
      things.put('a', 'one')
      things.put('b', 'two')
      const failure = failureOf(() =>
        store.transaction(() => {
          things.delete('a')
          things.put('b', 'changed')
          things.put('c', 'new')
          store.transaction(() => things.put('d', 'inner'))
          throw new Error('no')
        }),
      )
      expect(failure).toEqual(new Error('no'))
      expect(things.all()).toEqual(['one', 'two'])
      store.close()
    }
    const again = openStore(file)
    expect(again.collection('test.things').all()).toEqual(['one', 'two'])
    again.close()
  })

  test('has everything on disk that was flushed, even when the process is killed', async () => {
    const child = await otherProcess(`
      store.collection('test.things').put('flushed', 1)
      store.flush()
      store.transaction(() => store.collection('test.things').put('committed', 2))`)
    child.kill('SIGKILL')
    await child.exited
    const store = openStore(file)
    expect(store.collection<number>('test.things').all()).toEqual([1, 2])
    store.close()
  })

  test('refuses a file that a live process has, naming it, and takes it over when that process is dead', async () => {
    const child = await otherProcess('')
    const failure = failureOf(() => openStore(file))
    expect(hasCode(failure, 'locked')).toBe(true)
    expect(failure instanceof LandfallError && failure.message).toContain(`is in use by process ${child.pid}.`)
    expect(failure instanceof LandfallError && failure.hint).toContain(String(child.pid))
    child.kill('SIGKILL')
    await child.exited
    openStore(file).close()
  })

  test('refuses a file that this process has open already, until it is closed', () => {
    const store = openStore(file)
    expect(
      hasCode(
        failureOf(() => openStore(file)),
        'locked',
      ),
    ).toBe(true)
    store.close()
    openStore(file).close()
  })

  test('takes no writes after it was closed', () => {
    const store = openStore(file)
    const things = store.collection('test.things')
    store.close()
    expect(
      hasCode(
        failureOf(() => things.put('a', 1)),
        'cancelled',
      ),
    ).toBe(true)
  })

  test('forgets everything when it is cleared, on disk too', () => {
    const store = openStore(file)
    const things = store.collection('test.things')
    things.put('a', 1)
    store.flush()
    store.clear()
    expect(things.size).toBe(0)
    things.put('b', 2)
    store.close()
    const again = openStore(file)
    expect(again.collection<number>('test.things').all()).toEqual([2])
    again.close()
  })
})
