import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { mentionedVariables, neededVariables, parseComposeFile } from '../../../lib/stack/compose-file.ts'
import { parseYaml } from '../../../lib/stack/yaml.ts'
import { COMPOSE } from './planted.ts'

describe('lines of a YAML file', () => {
  test('every key and list element is found where it stands', () => {
    const text =
      'a:\n  - x\n  -\n    b: 1\n    c:\n    - d\n    - e: 2\n      f: 3\n# g: no\nh: |\n  i: text\n\n  j: text\n\'k l\': { m: [1,\n  n: 2] }\n"o": 3\n'
    const { lineOf } = parseYaml(text.replace('n: 2', '2'))
    const at = (...path: (string | number)[]) => lineOf(path)
    expect([
      at('a'),
      at('a', 0),
      at('a', 1),
      at('a', 1, 'b'),
      at('a', 1, 'c', 0),
      at('a', 1, 'c', 1),
      at('a', 1, 'c', 1, 'f'),
    ]).toEqual([1, 2, 3, 4, 6, 7, 8])
    expect([at('h'), at('h', 'i'), at('k l'), at('k l', 'm'), at('o')]).toEqual([10, 10, 14, 14, 16])
  })

  test('a key that stands twice is named, as Compose does', () => {
    expect(parseYaml('a: 1\nb:\n  c: 1\n  c: 2\n').mistakes).toEqual([
      { line: 4, says: 'the key "c" stands here twice (first in line 3)' },
    ])
    expect(parseYaml('- a: 1\n- a: 2\n').mistakes).toEqual([])
  })

  test('any text is read without a failure', () => {
    const piece = fc.constantFrom('a:', ' ', '\n', '- ', '|', '{', '}', '[', '"', '&x', '*x', ': ', '#', '\t')
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 40 }), pieces => {
        const text = pieces.join('')
        const { mistakes } = parseYaml(text)
        for (const { line } of mistakes) expect(line).toBeLessThanOrEqual(text.split('\n').length)
        expect(() => parseComposeFile('x.yml', text)).not.toThrow()
      }),
    )
  })

  test('a block of keys keeps its lines whatever is written between them', () => {
    const noise = fc.array(fc.constantFrom('', '# note', '    '), { maxLength: 3 })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}$/), noise), { minLength: 1, maxLength: 12 }),
        rows => {
          const unique = rows.filter(([name], index) => rows.findIndex(([other]) => other === name) === index)
          const lines = ['services:', ...unique.flatMap(([name, before]) => [...before, `  ${name}:`, '    image: x'])]
          const { lineOf } = parseYaml(lines.join('\n'))
          for (const [name] of unique) {
            expect(lines[lineOf(['services', name]) - 1]).toBe(`  ${name}:`)
            expect(lineOf(['services', name, 'image'])).toBe(lineOf(['services', name]) + 1)
          }
        },
      ),
    )
  })
})

describe('a Compose file in any of its forms', () => {
  const one = (lines: string) => parseComposeFile('x.yml', `services:\n  a:\n${lines}`).services.a

  test.each([
    ["    ports: ['80:80']", [{ address: '', port: '80', index: 0 }]],
    ["    ports: ['127.0.0.1:8080:80/tcp']", [{ address: '127.0.0.1', port: '8080', index: 0 }]],
    [`    ports: ['\${PORT:-8080}:80']`, [{ address: '', port: `\${PORT:-8080}`, index: 0 }]],
    ['    ports: [3000]', []],
    ['    ports:\n      - { target: 80, published: 90, host_ip: 127.0.0.1 }', [{ address: '127.0.0.1', port: '90', index: 0 }]],
  ])('%p publishes %p', (text, ports) => expect(one(text)?.hostPorts).toEqual(ports))

  test.each([
    ['./a:/b', 'bind', false],
    ['data:/b:ro', 'volume', true],
    ['/b', 'anonymous', false],
  ] as const)('the mount %p is a %p', (text, kind, readOnly) =>
    expect(one(`    volumes: ['${text}']`)?.mounts[0]).toMatchObject({ kind, readOnly }),
  )

  test('environment, env files and dependencies are read from lists and groups', () => {
    expect(
      one(
        '    environment: [A=1=2, B]\n    env_file: [x.env, { path: y.env, required: false }]\n    depends_on: { b: { condition: service_healthy } }',
      ),
    ).toMatchObject({
      environment: { A: '1=2', B: '' },
      envFiles: [
        { path: 'x.env', required: true },
        { path: 'y.env', required: false },
      ],
      dependsOn: ['b'],
    })
  })

  test('variables that need a value are told from those that have one', () => {
    const text = `a: $ONE \${TWO} \${THREE:-x} \${FOUR-x} \${FIVE:?no} $$SIX $\${SEVEN} \${EIGHT:+x}\n# $NINE\n`
    expect(neededVariables(text).map(({ name }) => name)).toEqual(['ONE', 'TWO', 'FIVE'])
    expect(mentionedVariables(COMPOSE)).toEqual(['TAG', 'DATABASE_PASSWORD'])
  })
})
