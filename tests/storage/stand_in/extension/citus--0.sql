-- What `migrate --distribute` asks of Citus, on a server that does not have it. A distributed table becomes one that is
-- partitioned by the hash of its column, so that it has the keys it would have; what Citus 13 and 14 refuse is refused
-- in their words (create_distributed_table.c, foreign_constraint.c of that time).
CREATE SCHEMA citus;
CREATE TABLE citus.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY, partmethod "char" NOT NULL, partkey text, colocationid int NOT NULL,
    repmodel "char" NOT NULL, autoconverted bool NOT NULL DEFAULT false
);
ALTER TABLE citus.pg_dist_partition SET SCHEMA pg_catalog;
CREATE TABLE citus.pg_dist_node (
    nodeid int PRIMARY KEY, groupid int NOT NULL, nodename text NOT NULL, nodeport int NOT NULL,
    noderole text NOT NULL DEFAULT 'primary', isactive bool NOT NULL DEFAULT true, shouldhaveshards bool NOT NULL
);
ALTER TABLE citus.pg_dist_node SET SCHEMA pg_catalog;
GRANT ALL ON pg_catalog.pg_dist_partition, pg_catalog.pg_dist_node TO PUBLIC;

CREATE FUNCTION citus.require_room(it regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = it) THEN
        RAISE EXCEPTION 'table "%" is already distributed', it USING ERRCODE = '42P16';
    END IF;
    IF EXISTS (SELECT FROM pg_dist_node) AND NOT EXISTS (SELECT FROM pg_dist_node WHERE shouldhaveshards) THEN
        RAISE EXCEPTION 'replication_factor (1) exceeds number of worker nodes (0)';
    END IF;
END $$;

CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM citus.require_room(table_name);
    IF EXISTS (SELECT FROM pg_constraint c LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.confrelid
               WHERE c.contype = 'f' AND c.conrelid = table_name AND p.logicalrelid IS NULL)
       OR EXISTS (SELECT FROM pg_constraint c LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.conrelid
                  WHERE c.contype = 'f' AND c.confrelid = table_name AND p.logicalrelid IS NULL) THEN
        RAISE EXCEPTION 'a local table has a foreign key with "%": Citus would convert it', table_name;
    END IF;
    INSERT INTO pg_dist_partition VALUES (table_name, 'n', NULL, 1, 't');
END $$;

CREATE FUNCTION pg_catalog.create_distributed_table(
    table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named text := table_name::text;
    place int2 := (SELECT attnum FROM pg_attribute WHERE attrelid = table_name AND attname = distribution_column);
    colocated int;
    said record;
    definitions text[] := '{}';
    part int;
BEGIN
    PERFORM citus.require_room(table_name);
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = table_name AND indisunique AND NOT place = ANY (indkey)) THEN
        RAISE EXCEPTION 'cannot create constraint on "%"', named USING ERRCODE = '0A000', DETAIL = 'Distributed relations '
            'cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints that do not include the partition column (with an '
            'equality operator if EXCLUDE).';
    END IF;
    IF EXISTS (SELECT FROM pg_constraint c LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.confrelid
               WHERE c.contype = 'f' AND c.conrelid = table_name AND p.logicalrelid IS NULL) THEN
        RAISE EXCEPTION 'cannot create foreign key constraint since relations are not colocated or not referencing a reference table';
    END IF;
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = table_name)
       AND current_setting('stand_in.parallel', true) = pg_current_xact_id()::text THEN
        RAISE EXCEPTION 'cannot distribute relation "%" in this transaction because it has a foreign key to a reference table', named
            USING HINT = 'Try re-running the transaction with "SET LOCAL citus.multi_shard_modify_mode TO ''sequential'';"';
    END IF;
    PERFORM set_config('stand_in.parallel', pg_current_xact_id()::text, true);
    IF colocate_with IN ('none', 'default') THEN
        SELECT coalesce(max(colocationid), 1) + 1 INTO colocated FROM pg_dist_partition;
    ELSE
        SELECT colocationid INTO colocated FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass AND partmethod = 'h';
        IF colocated IS NULL THEN
            RAISE EXCEPTION 'relation % is not distributed', colocate_with;
        END IF;
    END IF;
    -- the same table again, partitioned
    FOR said IN SELECT pg_get_indexdef(indexrelid) AS definition, indexrelid::regclass::text AS name, indisprimary FROM pg_index
                WHERE indrelid = table_name ORDER BY indisprimary DESC LOOP
        IF said.indisprimary THEN
            definitions := definitions || (SELECT format('ALTER TABLE %s ADD CONSTRAINT %s %s', named, conname, pg_get_constraintdef(oid))
                                           FROM pg_constraint WHERE conrelid = table_name AND contype = 'p');
        ELSE
            definitions := definitions || said.definition;
        END IF;
    END LOOP;
    EXECUTE format('CREATE TABLE %s_parted (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED) PARTITION BY HASH (%s)',
                   named, named, distribution_column);
    FOR part IN 0..3 LOOP
        EXECUTE format('CREATE TABLE %s_10200%s PARTITION OF %s_parted FOR VALUES WITH (MODULUS 4, REMAINDER %s)', named, part, named, part);
    END LOOP;
    EXECUTE format('INSERT INTO %s_parted SELECT * FROM %s', named, named);
    IF to_regclass(named || '_id_seq') IS NOT NULL THEN
        EXECUTE format('ALTER SEQUENCE %s_id_seq OWNED BY %s_parted.id', named, named);
    END IF;
    EXECUTE format('DROP TABLE %s', named);
    EXECUTE format('ALTER TABLE %s_parted RENAME TO %s', named, named);
    FOREACH named IN ARRAY definitions LOOP
        EXECUTE replace(named, ' ON ONLY ', ' ON ');
    END LOOP;
    INSERT INTO pg_dist_partition
    VALUES ((split_part(definitions[1], ' ', 3))::regclass, 'h', distribution_column, colocated, 's');
END $$;

CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(table_name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = table_name) THEN
        RAISE EXCEPTION 'supplied parameter is not a distributed relation';
    END IF;  -- here the rows are those everybody sees
END $$;
