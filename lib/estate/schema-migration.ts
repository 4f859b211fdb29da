/** The part of config.json's schema that is about moving names from an old host: what goes where, and how its former place is known. */

import * as v from 'valibot'
import { integer, type KeyDoc, key, label, list, mustBe, named, section, text } from './schema-kit.ts'

const documented = <const S extends v.GenericSchema>(schema: S, doc: KeyDoc) => v.pipe(schema, v.metadata({ ...doc }))

const HOST = 'a host name like "www.example.com"'
const HOST_PATTERN = /^(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/
const host = text(HOST, HOST_PATTERN)
const PATH = 'a path like "/health"'
const path = text(PATH, /^\/[\w\-.~%!$&'()*+,;=:@/?]{0,200}$/)
const HEADER = 'the name of a response header like "x-vercel-id"'
const header = text(HEADER, /^[A-Za-z0-9-]{1,64}$/)

export const migrationEntries = {
  migration: key(
    section({
      names: key(
        named(
          host,
          documented(
            section({
              server: key(label, 'name', '', 'Server that the name shall lead to.'),
              kind: key(
                v.picklist(['frontend', 'backend'], mustBe('"frontend" or "backend"')),
                'text',
                'backend for a name that begins with "api", else frontend',
                'What answers there; chooses the checklist and the isolation checks.',
              ),
              path: key(path, 'path', '/', 'Fetched to see that the new place answers.'),
              routes: key(
                list(path, 'a list of paths'),
                'list of paths',
                'path',
                'Further paths that must answer before the cutover.',
              ),
            }),
            { type: 'group', default: '', meaning: 'One name that moves.' },
          ),
        ),
        'group',
        'none',
        'The names that move, as full host names.',
      ),
      old_host: key(
        section({
          name: key(text('a name', /^[\w .-]{1,60}$/), 'text', 'the old host', 'What messages call it.'),
          domains: key(
            list(host, 'a list of domains'),
            'list of domains',
            'none',
            'Its own domains: alias targets below them, and pages that fetch from them, lead there.',
          ),
          headers: key(list(header, 'a list of header names'), 'list of texts', 'none', 'Response headers that only it sends.'),
        }),
        'group',
        'known from the records before the move',
        'How the former host is known, so that leaving it can be proved.',
      ),
      ttl: key(
        integer('a whole number of seconds from 60 to 86400', 60, 86_400),
        'number',
        '300',
        'Seconds that resolvers may keep a name after the move.',
      ),
      switch_ttl: key(
        integer('a whole number of seconds from 60 to 3600', 60, 3_600),
        'number',
        '60',
        'The same during the move.',
      ),
      quiet_minutes: key(
        integer('a whole number of minutes from 1 to 43200', 1, 43_200),
        'number',
        '1440',
        'How long nobody may be seen to reach the old host before it is called unused.',
      ),
      cors_path: key(
        path,
        'path',
        'the path of the first backend name',
        "Asked as a browser on the frontend's page asks the backend.",
      ),
      secret_patterns: key(
        list(text('a text of 4 to 100 characters', /^[^\p{Cc}]{4,100}$/u), 'a list of texts'),
        'list of texts',
        'names of common secrets',
        "Texts that must not stand in the frontend's pages.",
      ),
    }),
    'group',
    'nothing moves',
    'Names that move here from another host.',
  ),
}
