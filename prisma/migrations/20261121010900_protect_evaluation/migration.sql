-- What evaluation keeps, held to its workspace by the database too (20261121000700).
do $$
declare
  target regclass;
begin
  for target in
    select oid from pg_class
    where relnamespace = 'public'::regnamespace and not relrowsecurity and relname in
      ('evaluators', 'evaluator_versions', 'evaluation_cache', 'experiment_rows', 'experiment_results')
  loop
    perform protect_tenant_table(target);
  end loop;
end
$$;
