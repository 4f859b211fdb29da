import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeFileAtomic } from '../../../lib/engine/files.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-files-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

describe('writing a file in one step', () => {
  test('makes it private by default, with exactly the mode asked for otherwise', async () => {
    const path = join(directory, 'key')
    await writeFileAtomic(path, 'secret')
    expect([await readFile(path, 'utf8'), await modeOf(path)]).toEqual(['secret', '600'])
    await chmod(path, 0o777)
    await writeFileAtomic(path, new Uint8Array([104, 105]), 0o666)
    expect([await readFile(path, 'utf8'), await modeOf(path)]).toEqual(['hi', '666'])
    expect(await readdir(directory)).toEqual(['key'])
  })

  test('replaces a symbolic link and leaves its target alone', async () => {
    const target = join(directory, 'target')
    await writeFile(target, 'theirs')
    await symlink(target, join(directory, 'link'))
    await writeFileAtomic(join(directory, 'link'), 'ours')
    expect(await readFile(target, 'utf8')).toBe('theirs')
    expect(await readFile(join(directory, 'link'), 'utf8')).toBe('ours')
  })

  test('leaves the old content and no rubbish when it fails', async () => {
    await mkdir(join(directory, 'busy', 'inside'), { recursive: true })
    await expect(writeFileAtomic(join(directory, 'busy'), 'x')).rejects.toThrow()
    expect(await readdir(directory)).toEqual(['busy'])
    await expect(writeFileAtomic(join(directory, 'absent', 'file'), 'x')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a reader never sees half a file while writers compete', async () => {
    const path = join(directory, 'contested')
    const contents = Array.from({ length: 20 }, (_, at) => `${at}`.repeat(50_000))
    await writeFileAtomic(path, contents[0] ?? '')
    let writing = true
    const reading = (async () => {
      while (writing) expect(contents).toContain(await readFile(path, 'utf8'))
    })()
    await Promise.all(contents.map(content => writeFileAtomic(path, content)))
    writing = false
    await reading
  })
})
