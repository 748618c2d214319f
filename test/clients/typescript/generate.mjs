// Generates the types of frames and events, frames.ts, from the AsyncAPI document that is named, and complains about what the
// document has wrong.
import { writeFileSync } from 'node:fs';
import { TypeScriptGenerator } from '@asyncapi/modelina';
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const wrong = diagnostics.filter((found) => found.severity < 2); // errors and warnings
if (!document || wrong.length > 0) {
  console.error(wrong);
  process.exit(1);
}
const generator = new TypeScriptGenerator({ modelType: 'interface', enumType: 'union', mapType: 'record', rawPropertyNames: true });
const models = await generator.generate(document);
writeFileSync('frames.ts', models.map((model) => `export ${model.result}\n`).join('\n'));
