// Parses an AsyncAPI document, with all that it refers to, and prints each error and warning of the parser. Prints nothing else.
// node asyncapi.mjs FOLDER-OF-NODE_MODULES DOCUMENT
import { createRequire } from 'node:module'

const [modules, file] = process.argv.slice(2)
const { Parser, fromFile } = createRequire(modules + '/x.js')('@asyncapi/parser')
const { document, diagnostics } = await fromFile(new Parser(), file).parse()
const warning = 1 // 0 is an error; what is above is advice, such as to take a newer version
for (const d of diagnostics) {
  if (d.severity <= warning) console.log(d.code, d.path?.join('/'), d.message)
}
if (!document) console.log('it is no AsyncAPI document')
